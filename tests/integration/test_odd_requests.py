"""No request makes a service fail: every RPC that reflection lists, with values and bytes that no client would send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from devstack.stack.ports import free_port
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2, queue_service_pb2, token_service_pb2, worker_service_pb2
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.fuzzing import Fuzzer
from tests.running import ALICE, SERVICE, Metadata, Service, running

CONTRACTS = (api, queue_service_pb2, token_service_pb2, worker_service_pb2)
"""Read by now, so that the pool of descriptors holds every service."""
REQUESTS = 150
STREAM_SECONDS = 0.05
CALL_SECONDS = 0.5
FAILED = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS}


@pytest.fixture(params=["ingest", "image_worker"])
def service(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Service]:
    nobody = f"http://127.0.0.1:{free_port()}"
    settings = {
        "DATABASE_URL": database_url,
        "SUPABASE_URL": nobody,
        "SUPABASE_STAGING_KEY": "sb_secret_of_a_test",
        "GOOGLE_GEMINI_BASE_URL": nobody,
        "GOOGLE_GENERATIVE_AI_API_KEY": "a-key-of-a-test",
    }
    with running(request.param, settings, tmp_path / "log") as running_service:
        yield running_service


def methods(channel: grpc.Channel) -> list[MethodDescriptor]:
    """Every method that the server says it has, those of gRPC's own services aside."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=60)))
    names = [service.name for service in answer.list_services_response.service if not service.name.startswith("grpc.")]
    assert all(contract.DESCRIPTOR.services_by_name for contract in CONTRACTS)
    pool = descriptor_pool.Default()
    return [method for name in names for method in pool.FindServiceByName(name).methods]


def ends_as(channel: grpc.Channel, method: MethodDescriptor, raw: bytes, metadata: Metadata) -> grpc.StatusCode:
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.server_streaming:
            for _ in channel.unary_stream(path, bytes, bytes)(raw, metadata=metadata, timeout=STREAM_SECONDS):
                pass
        else:
            channel.unary_unary(path, bytes, bytes)(raw, metadata=metadata, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def test_no_request_makes_a_service_fail(service: Service) -> None:
    fuzzer = Fuzzer(seed=7)
    counts: Counter[tuple[str, grpc.StatusCode]] = Counter()
    with grpc.insecure_channel(service.address) as channel:
        if service.name == "ingest":
            image = job_pb2.ImageGeneration(storyboard_id="board", prompt="a fox")
            stub = GenerationServiceStub(channel)
            fuzzer.ids = [
                stub.CreateImageJob(api.CreateImageJobRequest(image=image), metadata=ALICE).job.id for _ in range(5)
            ]
        offered = methods(channel)
        for method in offered:
            for index in range(REQUESTS):
                raw = fuzzer.request(method)
                code = ends_as(channel, method, raw, SERVICE if index % 2 else ALICE)
                counts[method.full_name, code] += 1
                assert code not in FAILED, (method.full_name, raw, service.log.read_text()[-3000:])
    assert {name for name, _ in counts} == {method.full_name for method in offered}
    assert any(code is grpc.StatusCode.INVALID_ARGUMENT for _, code in counts)
    log = service.log.read_text()
    assert "Traceback" not in log
    assert "Call failed" not in log
