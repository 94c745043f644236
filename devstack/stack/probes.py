"""Questions that tell whether a process is ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_SECONDS = 2.0
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)


def grpc_serving(address: str) -> Callable[[], Awaitable[bool]]:
    """Whether the gRPC health service of an address says SERVING."""

    async def probe() -> bool:
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS
                )
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return probe


def http_answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Whether a GET of a URL is answered with a success."""

    async def probe() -> bool:
        async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
            try:
                return (await client.get(url)).is_success
            except httpx.TransportError:
                return False

    return probe
