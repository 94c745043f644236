"""What a caller is told whose quota is used up: by single calls, batches, and the metrics of ingest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import grpc
import psycopg
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from devstack.stack.ports import free_port
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.integration.helpers import IMAGE_QUEUE
from tests.integration.ingest_calls import image, reason, refused, video
from tests.running import SERVICE, Metadata, bearer, token
from tests.scrape import scrape, scrape_until

ADDRESS = f"127.0.0.1:{free_port()}"
ALICE = bearer(token("alice-of-quotas"))
GUEST = bearer(token("guest", is_anonymous=True))


@pytest.fixture(scope="module")
def ingest_settings() -> dict[str, str]:
    return {"METRICS_LISTEN": ADDRESS, "ALLOW_ANONYMOUS_USERS": "true"}


@pytest.fixture
def quotas(module_database_url: str) -> Iterator[psycopg.Connection]:
    """Two open images for everyone, one for guests."""
    with psycopg.connect(module_database_url, autocommit=True) as sql:
        sql.execute("delete from superstoryboard.jobs")
        sql.execute(
            "insert into superstoryboard.quotas (kind, scope, open_jobs)"
            " values ('image', 'EVERYONE', 2), ('image', 'ANONYMOUS', 1)"
        )
        yield sql
        sql.execute("delete from superstoryboard.quotas")


def create(generation: GenerationServiceStub, who: Metadata, request_id: str = "") -> str:
    request = api.CreateImageJobRequest(image=image(), request_id=request_id)
    return str(generation.CreateImageJob(request, metadata=who).job.id)


def retry_seconds(error: grpc.RpcError) -> int:
    info = error_details_pb2.RetryInfo()
    details = rpc_status.from_call(cast("grpc.Call", error)).details
    return next(int(info.retry_delay.seconds) for detail in details if detail.Unpack(info))


@pytest.mark.usefixtures("quotas")
def test_a_refusal_names_the_quota_and_when_to_try_again(generation: GenerationServiceStub) -> None:
    first = create(generation, ALICE, "r-1")
    create(generation, ALICE)
    error = refused(lambda: create(generation, ALICE))
    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    sentence = "the quota of 2 open image jobs is used up; try again when one of them has ended"
    assert (error.details(), retry_seconds(error)) == (sentence, 30)
    assert create(generation, ALICE, "r-1") == first, "a repeat is no new job"
    generation.CreateVideoJob(api.CreateVideoJobRequest(video=video()), metadata=ALICE)


@pytest.mark.usefixtures("quotas")
def test_a_batch_is_refused_item_by_item(generation: GenerationServiceStub) -> None:
    item = api.BatchItem(image=api.CreateImageJobRequest(image=image()))
    results = generation.BatchCreateJobs(api.BatchCreateJobsRequest(items=[item] * 4), metadata=ALICE).results
    assert [bool(result.job.id) for result in results] == [True, True, False, False]
    assert {result.error.code for result in results[2:]} == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}


@pytest.mark.usefixtures("quotas")
def test_guests_have_a_quota_of_their_own_and_services_none(generation: GenerationServiceStub) -> None:
    create(generation, GUEST)
    assert reason(refused(lambda: create(generation, GUEST))) == "QUOTA_EXCEEDED"
    for _ in range(4):
        create(generation, SERVICE)


@pytest.mark.usefixtures("quotas")
def test_refusals_and_waiting_owners_are_counted(generation: GenerationServiceStub) -> None:
    before = scrape(ADDRESS)("quota_refusals_total", kind="image", quota="OPEN_JOBS") or 0
    for who in (ALICE, ALICE, SERVICE):
        create(generation, who)
    refused(lambda: create(generation, ALICE))
    assert scrape(ADDRESS)("quota_refusals_total", kind="image", quota="OPEN_JOBS") == before + 1
    assert scrape(ADDRESS)("quota_refusals_total", kind="video", quota="PER_DAY") == 0
    scrape_until(ADDRESS, lambda page: page("queue_waiting_owners", queue=IMAGE_QUEUE) == 2)


def test_single_calls_go_before_batches(generation: GenerationServiceStub, quotas: psycopg.Connection) -> None:
    item = api.BatchItem(image=api.CreateImageJobRequest(image=image()))
    generation.BatchCreateJobs(api.BatchCreateJobsRequest(items=[item]), metadata=ALICE)
    create(generation, ALICE)
    quotas.execute("select pgmq.send(%s, '{}')", (IMAGE_QUEUE,))
    turns = quotas.execute("select owner, priority from superstoryboard.turns order by rank").fetchall()
    assert turns == [("alice-of-quotas", 1), ("alice-of-quotas", -1), ("sql", 0)]
