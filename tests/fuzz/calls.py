"""Well-framed calls of every RPC that a server lists, with messages of odd values and damaged bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from superstoryboard.v1 import generation_service_pb2, queue_service_pb2, token_service_pb2, worker_service_pb2
from tests.fuzz.tally import Tally
from tests.fuzzing import Fuzzer
from tests.running import ALICE, BOB, OWN_CONNECTION, SERVICE, Metadata, Service, bearer

CONTRACTS = (generation_service_pb2, queue_service_pb2, token_service_pb2, worker_service_pb2)
"""Read by now, so that the pool of descriptors holds every service."""
CALLERS: tuple[Metadata, ...] = (ALICE, SERVICE, SERVICE, BOB, SERVICE, (), SERVICE, bearer("x.y.z"), (*ALICE, *ALICE))
AT_ONCE = 12
STREAM_SECONDS = 0.1
CALL_SECONDS = 2.0


def methods(address: str) -> list[MethodDescriptor]:
    """Every method that the server says it has, those of gRPC's own services aside."""
    with grpc.insecure_channel(address, OWN_CONNECTION) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=60)))
    names = [service.name for service in answer.list_services_response.service if not service.name.startswith("grpc.")]
    assert all(contract.DESCRIPTOR.services_by_name for contract in CONTRACTS)
    pool = descriptor_pool.Default()
    return [method for name in names for method in pool.FindServiceByName(name).methods]


async def fuzz_calls(
    service: Service, seed: int, count: int, tally: Tally, *, ids: list[str], backend: Metadata
) -> None:
    """Send `count` calls, spread over the methods; `ids` are jobs that exist, `backend` calls by a service token."""
    offered = await asyncio.to_thread(methods, service.address)
    callers = (*CALLERS, backend, (*backend, ("on_behalf_of", "alice")))
    async with grpc.aio.insecure_channel(service.address, options=OWN_CONNECTION) as channel:

        async def caller(number: int) -> None:
            fuzzer = Fuzzer(f"{seed} {service.name} {number}")
            fuzzer.ids = ids
            for index in range(number, count, AT_ONCE):
                turn = index // AT_ONCE
                method = offered[(turn + number) % len(offered)]
                metadata = callers[turn // len(offered) % len(callers)]
                await _call(channel, service.name, method, fuzzer.request(method), metadata, tally=tally)

        await asyncio.gather(*(caller(number) for number in range(AT_ONCE)))


async def _call(
    channel: grpc.aio.Channel, part: str, method: MethodDescriptor, raw: bytes, metadata: Metadata, *, tally: Tally
) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    call: Any
    try:
        if method.server_streaming:
            call = channel.unary_stream(path, bytes, bytes)(raw, metadata=metadata, timeout=STREAM_SECONDS)
            async for _ in call:
                pass
        else:
            call = channel.unary_unary(path, bytes, bytes)(raw, metadata=metadata, timeout=CALL_SECONDS)
            await call
        ending = "OK"
    except grpc.aio.AioRpcError as error:
        ending = error.code().name
        tally.shown(f"the answer of {method.name}", f"{error.details()} {error.trailing_metadata()}")
    tally.ended(f"calls of {part}", method.name, ending, (raw[:200], metadata))
