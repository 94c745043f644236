"""What one address may hold open, and what callers without a token may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from superstoryboard.rpc.open_services import CALLS_PER_CONNECTION
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.fuzz.frames import Wire, call_of, ending
from tests.fuzz.tally import Tally
from tests.hostile import KIBIBYTE, HostileCallers
from tests.relay import arriving_from
from tests.running import ALICE, OWN_CONNECTION, SERVICE, Service, bearer, running, token
from tests.wire import reason, refused, wait_ok

HOSTILE = 200
BYTES_EACH = 128 * KIBIBYTE
LISTED = api.ListJobsRequest()


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    settings = {"DATABASE_URL": database_url, "GRPC_CALLS_PER_ADDRESS": "16"}
    with running("ingest", settings, tmp_path / "log") as ingest:
        yield ingest


def watched(stub: GenerationServiceStub, number: int) -> Any:
    """A watch that is open, of an owner of its own."""
    owner, board = bearer(token(f"owner-{number}")), f"board-{number}"
    image = job_pb2.ImageGeneration(storyboard_id=board, prompt="a fox")
    stub.CreateImageJob(api.CreateImageJobRequest(image=image), metadata=owner)
    watch = stub.WatchJobs(api.WatchJobsRequest(storyboard_id=board), metadata=owner, timeout=60)
    next(iter(watch))
    return watch


def test_callers_of_one_address_share_its_calls(service: Service) -> None:
    with (
        grpc.insecure_channel(service.address, OWN_CONNECTION) as channel,
        arriving_from("127.0.0.2", service.address) as elsewhere,
        grpc.insecure_channel(elsewhere, OWN_CONNECTION) as other_channel,
    ):
        stub, other = GenerationServiceStub(channel), GenerationServiceStub(other_channel)
        watches = [watched(stub, number) for number in range(16)]
        error = refused(lambda: stub.ListJobs(LISTED, metadata=ALICE))
        assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert "at most 16 may be open for one address" in str(error.details())
        other.ListJobs(LISTED, metadata=ALICE)
        stub.ListJobs(LISTED, metadata=SERVICE)
        watches[0].cancel()
        wait_ok(lambda: stub.ListJobs(LISTED, metadata=ALICE))


def test_a_stranger_has_few_calls_open(service: Service) -> None:
    with (
        grpc.insecure_channel(service.address, OWN_CONNECTION) as channel,
        grpc.insecure_channel(service.address, OWN_CONNECTION) as other,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(CALLS_PER_CONNECTION)]
        for watch in watches:
            next(iter(watch))
        error = refused(lambda: health.Check(health_pb2.HealthCheckRequest()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        health_pb2_grpc.HealthStub(other).Check(health_pb2.HealthCheckRequest())
        watches[0].cancel()
        wait_ok(lambda: health.Check(health_pb2.HealthCheckRequest()))


def test_callers_without_a_token_cost_little_memory_each(service: Service) -> None:
    with (
        grpc.insecure_channel(service.address, OWN_CONNECTION) as channel,
        HostileCallers(service.address, service.pid, HOSTILE) as hostile,
    ):
        stub = GenerationServiceStub(channel)
        for _ in range(3):
            hostile.call_each()
            stub.ListJobs(LISTED, metadata=SERVICE)
        assert hostile.answers == {"UNAUTHENTICATED": 3 * HOSTILE}
        assert hostile.memory_each() <= BYTES_EACH


def test_a_token_with_an_odd_byte_is_refused_and_not_logged(service: Service) -> None:
    secret = str(ALICE[0][1]).removeprefix("Bearer ")
    head = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/superstoryboard.v1.GenerationService/ListJobs")]
    head += [(b":authority", b"x"), (b"content-type", b"application/grpc"), (b"te", b"trailers")]
    head += [(b"authorization", b"Bearer " + secret.encode() + b"\xff"), (b"traceparent", b"\xff" * 55)]
    tally = Tally({})
    assert ending(service.address, Wire("odd bytes", call_of(head, b"\0\0\0\0\0"), answered=True), tally) == (
        "UNAUTHENTICATED"
    )
    log = service.log.read_text()
    assert secret not in log
    assert "Traceback" not in log
