"""What somebody put into the database by SQL never hides the jobs of others from lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import psycopg
import pytest

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.running import ALICE, SERVICE, Service, running
from tests.wire import MEBIBYTE, memory_of

POISON = {
    "a number of 5,000 digits": "'{\"prompt\": ' || repeat('9', 5000) || '}'",
    "1e100000": "'{\"prompt\": 1e100000}'",
    "5,000 nested arrays": "repeat('[', 5000) || repeat(']', 5000)",
    "deep objects": "repeat('{\"a\":', 5000) || '1' || repeat('}', 5000)",
    "20 MB": "'{\"prompt\": \"' || repeat(md5(random()::text), 655360) || '\"}'",
    "no object": "'[1, 2]'",
    "wrong types": '\'{"prompt": {"a": 1}, "class": [], "code": 7, "provider_codes": "x"}\'',
}


@pytest.fixture
def ingest(database_url: str, tmp_path: Path) -> Iterator[Service]:
    with running("ingest", {"DATABASE_URL": database_url}, tmp_path / "log") as service:
        yield service


@pytest.fixture
def channel(ingest: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(ingest.address, [("grpc.max_receive_message_length", -1)]) as opened:
        yield opened


def create(channel: grpc.Channel, prompt: str = "a fox") -> job_pb2.Job:
    image = job_pb2.ImageGeneration(storyboard_id="board", prompt=prompt)
    return GenerationServiceStub(channel).CreateImageJob(api.CreateImageJobRequest(image=image), metadata=ALICE).job


@pytest.mark.parametrize("column", ["raw_body", "generation", "labels", "error"])
def test_a_job_that_nobody_can_read_is_listed_with_the_others(
    channel: grpc.Channel, ingest: Service, sql: psycopg.Connection, column: str
) -> None:
    good = create(channel)
    odd = {case: create(channel).id for case in POISON}
    for case, job_id in odd.items():
        sql.execute(f"update superstoryboard.jobs set {column} = ({POISON[case]})::jsonb where id = %s", (job_id,))
    stub = GenerationServiceStub(channel)
    with memory_of(ingest.pid) as growth:
        listed = {job.id: job for job in stub.ListJobs(api.ListJobsRequest(), metadata=ALICE).jobs}
        assert listed.keys() == {good.id, *odd.values()}
        assert listed[good.id] == good
        for job_id in odd.values():
            assert stub.GetJob(api.GetJobRequest(job_id=job_id), metadata=ALICE).job == listed[job_id]
        sql.execute("update superstoryboard.jobs set state = 'RUNNING'")
        sql.execute("update superstoryboard.jobs set state = 'DEAD_LETTERED', ended_at = now()")
        letters = QueueServiceStub(channel).ListDeadLetters(queue_api.ListDeadLettersRequest(), metadata=SERVICE)
        assert {letter.job.id for letter in letters.dead_letters} == listed.keys()
    assert growth() < 60 * MEBIBYTE


@pytest.mark.parametrize("case", POISON)
def test_a_body_sent_by_sql_is_listed(channel: grpc.Channel, sql: psycopg.Connection, case: str) -> None:
    good = create(channel)
    sql.execute(f"select pgmq.send('image_generation_queue', ({POISON[case]})::jsonb)")
    listed = GenerationServiceStub(channel).ListJobs(api.ListJobsRequest(), metadata=SERVICE).jobs
    assert len(listed) == 2
    assert listed[1] == good


def test_pages_of_large_jobs_end_early_and_lose_none(channel: grpc.Channel, ingest: Service) -> None:
    ids = [create(channel, "x" * 31_000).id for _ in range(230)]
    stub = GenerationServiceStub(channel)
    listed: list[str] = []
    sizes: list[int] = []
    request = api.ListJobsRequest(page_size=1000)
    with memory_of(ingest.pid) as growth:
        while not sizes or request.page_token:
            page = stub.ListJobs(request, metadata=ALICE)
            listed += [job.id for job in page.jobs]
            sizes.append(page.ByteSize())
            request.page_token = page.next_page_token
    assert listed == ids[::-1]
    assert max(sizes) < 4 * MEBIBYTE
    assert growth() < 60 * MEBIBYTE
