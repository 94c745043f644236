"""Limits of a server that are set low: age and number of connections, time of a call, size of metadata."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from storyboard.api.client import Ingest
from storyboard.api.settings import Endpoint
from storyboard.terminal.follow import follow_storyboard
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.running import ALICE, OWN_CONNECTION, SERVICE, Service, bearer, running, token
from tests.wire import reason, refused, wait_ok

BLOCKED_EVENTS = 20_000


def served(database_url: str, tmp_path: Path, **limits: str) -> Iterator[Service]:
    with running("ingest", {"DATABASE_URL": database_url} | limits, tmp_path / "log") as service:
        yield service


@pytest.fixture
def ageing(database_url: str, tmp_path: Path) -> Iterator[Service]:
    yield from served(database_url, tmp_path, GRPC_CONNECTION_AGE_SECONDS="1", GRPC_CONNECTION_GRACE_SECONDS="1")


@pytest.fixture
def narrow(database_url: str, tmp_path: Path) -> Iterator[Service]:
    yield from served(database_url, tmp_path, GRPC_MAX_CONNECTIONS="3", GRPC_CALL_SECONDS="1", WATCHES_PER_OWNER="1")


def create(stub: GenerationServiceStub, metadata: tuple[tuple[str, str | bytes], ...]) -> job_pb2.Job:
    image = job_pb2.ImageGeneration(storyboard_id="board", prompt="a fox")
    return stub.CreateImageJob(api.CreateImageJobRequest(image=image), metadata=metadata).job


def test_a_watch_of_an_old_connection_ends_and_goes_on_from_its_sequence(ageing: Service) -> None:
    with grpc.insecure_channel(ageing.address, OWN_CONNECTION) as channel:
        stub = GenerationServiceStub(channel)
        create(stub, ALICE)
        stream = iter(stub.WatchJobs(api.WatchJobsRequest(storyboard_id="board"), metadata=ALICE, timeout=60))
        first = next(stream).event.sequence
        assert refused(lambda: next(stream)).code() is grpc.StatusCode.UNAVAILABLE
        second = create(stub, ALICE)
        request = api.WatchJobsRequest(storyboard_id="board", after_sequence=first)
        event = next(iter(stub.WatchJobs(request, metadata=ALICE, timeout=60))).event
        assert event.job_id == second.id


@dataclass(frozen=True)
class Watched(Ingest):
    """Ingest that notes where each watch began."""

    begun: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)

    def watch(self, request: api.WatchJobsRequest) -> Iterator[api.WatchJobsResponse]:
        self.begun.put(request.after_sequence)
        return super().watch(request)


class Shown:
    """A display that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[int] = []
        self.notes: list[str] = []

    def show(self, event: job_pb2.JobEvent) -> None:
        self.events.append(event.sequence)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def test_the_command_line_follows_over_connections_that_end_by_age_and_says_nothing(ageing: Service) -> None:
    shown = Shown()
    with grpc.insecure_channel(ageing.address, OWN_CONNECTION) as channel, ThreadPoolExecutor(1) as thread:
        stub = GenerationServiceStub(channel)
        ingest = Watched(Endpoint("ingest", "INGEST_ADDRESS", ageing.address), stub, ALICE)  # type: ignore[arg-type]
        job = create(stub, ALICE)
        following = thread.submit(follow_storyboard, ingest, "board", shown, after_sequence=0, stay=False)
        assert ingest.begun.get(timeout=60) == 0
        first = ingest.begun.get(timeout=60)
        stub.CancelJob(api.CancelJobRequest(job_id=job.id), metadata=ALICE, wait_for_ready=True)
        following.result(60)
    assert shown.notes == []
    assert shown.events == sorted(set(shown.events))
    assert shown.events[0] == first < shown.events[-1]


def test_a_server_has_so_many_connections(narrow: Service) -> None:
    channels = [grpc.insecure_channel(narrow.address, OWN_CONNECTION) for _ in range(4)]
    try:
        for channel in channels[:3]:
            grpc.channel_ready_future(channel).result(30)
        last = GenerationServiceStub(channels[3])
        error = refused(lambda: last.ListJobs(api.ListJobsRequest(), metadata=ALICE, timeout=30))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        for channel in channels:
            channel.close()


def test_a_call_takes_so_long(narrow: Service, database_url: str) -> None:
    with grpc.insecure_channel(narrow.address, OWN_CONNECTION) as channel, psycopg.connect(database_url) as holder:
        queues = QueueServiceStub(channel)
        queues.ListQueues(queue_api.ListQueuesRequest(), metadata=SERVICE)
        holder.execute("lock table superstoryboard.queues in access exclusive mode")
        error = refused(lambda: queues.ListQueues(queue_api.ListQueuesRequest(), metadata=SERVICE, timeout=60))
        assert (error.code(), reason(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "CALL_TIMEOUT")
        holder.rollback()
        assert queues.ListQueues(queue_api.ListQueuesRequest(), metadata=SERVICE, timeout=60).queues


def test_metadata_has_a_limit(narrow: Service) -> None:
    with grpc.insecure_channel(narrow.address, OWN_CONNECTION) as channel:
        stub = GenerationServiceStub(channel)
        metadata = (*ALICE, ("x-large", "x" * 20_000))
        error = refused(lambda: stub.ListJobs(api.ListJobsRequest(), metadata=metadata, timeout=30))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        stub.ListJobs(api.ListJobsRequest(), metadata=ALICE, timeout=30)


def refusal_of(watch: Any) -> grpc.StatusCode | None:
    """Why a watch gives no first event; None where it gives one."""
    try:
        next(iter(watch))
    except grpc.RpcError as error:
        return error.code()
    return None


def holding(stub: GenerationServiceStub, request: api.WatchJobsRequest, seconds: int) -> Any:
    """A watch of Alice that keeps out another and has a token for so long; None where the machine took longer."""
    unread = stub.WatchJobs(request, metadata=bearer(token(exp=int(time.time()) + seconds)))
    if (late := refusal_of(unread)) is not None:
        assert late in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        return None
    other = stub.WatchJobs(request, metadata=ALICE, timeout=60)
    if (kept_out := refusal_of(other)) is not None:
        assert kept_out is grpc.StatusCode.RESOURCE_EXHAUSTED
        return unread
    assert refused(lambda: list(unread)).code() is grpc.StatusCode.UNAUTHENTICATED, "its token had ended"
    other.cancel()  # type: ignore[no-untyped-call]  # in grpc-stubs
    return None


def test_a_watch_that_nobody_reads_ends_with_its_token_too(narrow: Service, sql: psycopg.Connection) -> None:
    with grpc.insecure_channel(narrow.address, OWN_CONNECTION) as channel:
        stub = GenerationServiceStub(channel)
        job = create(stub, ALICE)
        sql.execute(
            "insert into superstoryboard.job_events"
            " (job_id, owner, storyboard_id, state, attempt, progress_percent, message)"
            " select %s, 'alice', 'board', 'RUNNING', 1, 0, repeat('x', 1000) from generate_series(1, %s)",
            (job.id, BLOCKED_EVENTS),
        )
        request = api.WatchJobsRequest(storyboard_id="board")
        unread = next(filter(None, (holding(stub, request, seconds) for seconds in (4, 16, 64))))
        wait_ok(lambda: next(iter(stub.WatchJobs(request, metadata=ALICE, timeout=60))))
        assert refused(lambda: list(unread)).code() is grpc.StatusCode.UNAUTHENTICATED
