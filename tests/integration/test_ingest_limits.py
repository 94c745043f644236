"""What one caller can do to ingest: a real process, real connections, and raw bytes that no client would send."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from uuid import uuid4

import grpc
import psycopg
import pytest
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from superstoryboard.rpc.limits import MAX_MESSAGE_BYTES
from superstoryboard.rpc.open_services import READS_AT_ONCE
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.integration.ingest_calls import LIMITS
from tests.running import ALICE, SERVICE, Service, bearer, token
from tests.slow_peer import begin_requests
from tests.waiting import wait_for
from tests.wire import MEBIBYTE, details, memory_of, raw_call, reason, refused, wait_ok, wrong_fields

PING_SECONDS = 5

WATCH = api.WatchJobsRequest(storyboard_id="watched")


@pytest.fixture(scope="module")
def ingest_settings() -> dict[str, str]:
    return LIMITS


def image_request() -> api.CreateImageJobRequest:
    return api.CreateImageJobRequest(
        image=job_pb2.ImageGeneration(storyboard_id="watched", scene_id="scene-1", prompt="a fox")
    )


def test_a_request_without_a_token_is_never_read(ingest: Service, channel: grpc.Channel) -> None:
    crowd = b"\x0a\x00" * (8 * MEBIBYTE - 1)
    with memory_of(ingest.pid) as growth:
        for method in ("GenerationService/BatchCreateJobs", "GenerationService/WatchJobs", "QueueService/ListQueues"):
            error = refused(lambda: raw_call(channel, method)(crowd))  # noqa: B023 - called at once
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        stream = channel.stream_unary("/superstoryboard.v1.GenerationService/BatchCreateJobs", bytes, bytes)
        error = refused(lambda: stream(repeat(crowd, 25)))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert growth() < 60 * MEBIBYTE


def test_open_services_hold_little_of_what_strangers_send(ingest: Service, channel: grpc.Channel) -> None:
    """Requests that never end, 600 MiB together; what was read of one is held, so only few are read at once."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
    with memory_of(ingest.pid) as growth:
        begin_requests(ingest.address, "/grpc.health.v1.Health/Check", 15 * MEBIBYTE, 40)
    assert growth() < 2 * READS_AT_ONCE * MAX_MESSAGE_BYTES
    assert said_in_time(check, b"") == b"\x08\x01"
    for junk in (b"\xff", b"\x12\x80\x80\xc0\x07" + bytes(15 * MEBIBYTE)):
        assert said_in_time(check, junk) is grpc.StatusCode.INVALID_ARGUMENT


def said_in_time(call: Callable[..., bytes], request: bytes) -> bytes | grpc.StatusCode:
    """The answer to a request that the server could read in time: a machine with other work may need longer for it."""

    def said() -> bytes | grpc.StatusCode:
        try:
            return call(request, timeout=30)
        except grpc.RpcError as error:
            return error.code()

    return wait_for(said, lambda answer: answer is not grpc.StatusCode.DEADLINE_EXCEEDED)


def test_reflection_has_few_callers_at_once(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    finish = threading.Event()

    def requests() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield request
        finish.wait(60)

    opened = [stub.ServerReflectionInfo(requests(), timeout=60) for _ in range(8)]
    for call in opened:
        assert next(iter(call)).list_services_response.service
    error = refused(lambda: next(iter(stub.ServerReflectionInfo(iter([request]), timeout=30))))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    finish.set()
    for call in opened:
        assert not list(call)
    wait_ok(lambda: next(iter(stub.ServerReflectionInfo(iter([request]), timeout=30))))


def test_no_request_but_a_batch_is_longer_than_a_mebibyte(ingest: Service, channel: grpc.Channel) -> None:
    start = ingest.log.stat().st_size
    with memory_of(ingest.pid) as growth:
        for size in (MEBIBYTE + 1, 15 * MEBIBYTE, 100 * MEBIBYTE):
            for packing in (None, grpc.Compression.Gzip):
                call = raw_call(channel, "GenerationService/CreateImageJob")
                error = refused(lambda: call(bytes(size), metadata=ALICE, compression=packing))  # noqa: B023
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert growth() < 120 * MEBIBYTE
    no_traceback(ingest, start)


@pytest.mark.parametrize("size", [30_000, 8 * MEBIBYTE - 1])
def test_a_batch_of_too_many_items_is_refused_before_it_is_parsed(
    ingest: Service, channel: grpc.Channel, size: int
) -> None:
    with memory_of(ingest.pid) as growth:
        error = refused(
            lambda: raw_call(channel, "GenerationService/BatchCreateJobs")(b"\x0a\x00" * size, metadata=ALICE)
        )
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert list(wrong_fields(error)) == ["items"]
    assert growth() < 100 * MEBIBYTE


@pytest.mark.parametrize("count", [1001, 26_000])
def test_a_million_ids_are_refused_by_their_number(channel: grpc.Channel, count: int) -> None:
    watch = api.WatchJobsRequest(job_ids=[f"{index:036}" for index in range(count)]).SerializeToString()
    call = channel.unary_stream("/superstoryboard.v1.GenerationService/WatchJobs", bytes, bytes)
    error = refused(lambda: next(iter(call(watch, metadata=ALICE))))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(wrong_fields(error)) == ["job_ids"]


def test_more_wrong_fields_than_a_status_holds_are_told_as_many_as_fit(generation: GenerationServiceStub) -> None:
    request = api.WatchJobsRequest(job_ids=["\N{SNOWMAN}" * 300] * 1000)
    error = refused(lambda: next(iter(generation.WatchJobs(request, metadata=ALICE))))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert 1 <= len(wrong_fields(error)) <= 100
    created = api.CreateImageJobRequest(request_id="\N{SNOWMAN}" * 200_000, labels={"\N{SNOWMAN}" * 100_000: "x"})
    error = refused(lambda: generation.CreateImageJob(created, metadata=ALICE))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "image" in " ".join(wrong_fields(error))


@pytest.mark.parametrize("raw", [b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\xff" * 20, b"\x0b" * 300, b"\x0b" * 90_000])
def test_bytes_that_are_no_message_are_named(channel: grpc.Channel, ingest: Service, raw: bytes) -> None:
    start = ingest.log.stat().st_size
    error = refused(lambda: raw_call(channel, "GenerationService/GetJob")(raw, metadata=ALICE))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "GetJobRequest" in wrong_fields(error)["request"]
    no_traceback(ingest, start)


def no_traceback(ingest: Service, start: int) -> None:
    """What the service logged since then holds none; else it is shown whole."""
    logged = ingest.log.read_bytes()[start:].decode()
    if "Traceback" in logged:
        pytest.fail(logged, pytrace=False)


def test_a_call_without_a_request_is_told_so(channel: grpc.Channel) -> None:
    call = channel.stream_unary("/superstoryboard.v1.GenerationService/GetJob", bytes, bytes)
    error = refused(lambda: call(iter(()), metadata=ALICE))
    assert (error.code(), list(wrong_fields(error))) == (grpc.StatusCode.INVALID_ARGUMENT, ["request"])


def test_a_caller_has_so_many_calls_open_at_once(generation: GenerationServiceStub) -> None:
    service = bearer(token("one-more-backend", "service_role"))
    job = generation.CreateImageJob(image_request(), metadata=ALICE).job
    watches = [generation.WatchJobs(WATCH, metadata=service) for _ in range(16)]
    for watch in watches:
        next(iter(watch))
    error = refused(lambda: generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=service))
    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    assert details(error, error_details_pb2.RetryInfo).retry_delay.seconds > 0
    assert generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=ALICE).job == job, "others go on"
    for watch in watches:
        watch.cancel()  # type: ignore[no-untyped-call]  # in grpc-stubs
    wait_ok(lambda: generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=service))


def test_an_owner_has_so_many_watches_open_at_once(generation: GenerationServiceStub) -> None:
    carol, dave = bearer(token("carol")), bearer(token("dave"))
    generation.CreateImageJob(image_request(), metadata=carol)
    generation.CreateImageJob(image_request(), metadata=dave)
    watches = [generation.WatchJobs(WATCH, metadata=carol) for _ in range(3)]
    for watch in watches:
        next(iter(watch))
    error = refused(lambda: next(iter(generation.WatchJobs(WATCH, metadata=carol))))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(error, error_details_pb2.RetryInfo).retry_delay.seconds > 0
    other = generation.WatchJobs(WATCH, metadata=dave)
    next(iter(other))
    for watch in (*watches, other):
        watch.cancel()  # type: ignore[no-untyped-call]  # in grpc-stubs
    wait_ok(lambda: next(iter(generation.WatchJobs(WATCH, metadata=carol))))


def test_a_watch_ends_with_its_token(generation: GenerationServiceStub) -> None:
    ends = int(time.time()) + 3
    stream = generation.WatchJobs(WATCH, metadata=bearer(token(exp=ends)), timeout=60)
    error = refused(lambda: list(stream))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert time.time() >= ends
    late = generation.WatchJobs(WATCH, metadata=bearer(token(exp=time.time() - 5)), timeout=60)
    assert refused(lambda: list(late)).code() is grpc.StatusCode.UNAUTHENTICATED


def test_an_idle_watch_lives_with_the_pings_of_its_client(ingest: Service) -> None:
    options = [
        ("grpc.keepalive_time_ms", PING_SECONDS * 1000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.insecure_channel(ingest.address, options) as channel:
        request = api.WatchJobsRequest(storyboard_id="idle")
        stub = GenerationServiceStub(channel)
        error = refused(lambda: list(stub.WatchJobs(request, metadata=ALICE, timeout=PING_SECONDS * 5)))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_watcher_that_reads_nothing_holds_little_memory_and_misses_nothing(
    ingest: Service, generation: GenerationServiceStub, module_database_url: str
) -> None:
    job = generation.CreateImageJob(image_request(), metadata=ALICE).job
    with grpc.insecure_channel(ingest.address, [("grpc.use_local_subchannel_pool", 1)]) as slow:
        request = api.WatchJobsRequest(job_ids=[job.id])
        stream = iter(GenerationServiceStub(slow).WatchJobs(request, metadata=ALICE, timeout=60))
        first = next(stream).event.sequence
        with memory_of(ingest.pid) as growth, psycopg.connect(module_database_url, autocommit=True) as connection:
            for _ in range(10):
                connection.execute(
                    "insert into superstoryboard.job_events"
                    " (job_id, owner, storyboard_id, state, attempt, progress_percent, message)"
                    " select %s, 'alice', 'watched', 'RUNNING', 1, 0, repeat('x', 1000) from generate_series(1, 3000)",
                    (job.id,),
                )
            last = connection.execute("select max(sequence) from superstoryboard.job_events").fetchone()
            assert last is not None
            fast = generation.WatchJobs(
                api.WatchJobsRequest(job_ids=[job.id], after_sequence=last[0] - 1), metadata=ALICE
            )
            assert next(iter(fast)).event.sequence == last[0]
        assert growth() < 60 * MEBIBYTE
        sequences = [next(stream).event.sequence for _ in range(30_000)]
    assert sequences == list(range(first + 1, last[0] + 1))


@pytest.mark.parametrize("until", ["infinity", "2126-01-01", "200000-01-01"])
def test_a_gate_that_is_closed_for_ever_is_listed(channel: grpc.Channel, module_database_url: str, until: str) -> None:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute(
            "insert into superstoryboard.gates (provider, model, closed_until, reason)"
            " values ('google', 'm', %s, 'shut') on conflict (provider, model) do update"
            " set closed_until = excluded.closed_until",
            (until,),
        )
    queues = QueueServiceStub(channel).ListQueues(queue_api.ListQueuesRequest(), metadata=SERVICE).queues
    assert {(gate.model, gate.reason) for queue in queues for gate in queue.gates} == {("m", "shut")}


def test_an_unknown_job_is_not_watched(generation: GenerationServiceStub) -> None:
    job = generation.CreateImageJob(image_request(), metadata=ALICE).job
    request = api.WatchJobsRequest(job_ids=[job.id, str(uuid4())])
    error = refused(lambda: next(iter(generation.WatchJobs(request, metadata=ALICE))))
    assert error.code() is grpc.StatusCode.NOT_FOUND
