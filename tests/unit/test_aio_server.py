"""No path of a call stops a server: a stranger would need one packet to keep everyone out."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from superstoryboard.rpc.aio_server import aio_server
from superstoryboard.rpc.health_port import health_server
from tests.fuzz.frames import call_of, message_of

UNKNOWN_CALLS = 200
SERVING = health_pb2.HealthCheckResponse.SERVING


def send(port: int, path: bytes) -> bytes:
    """What a server answers to a call of this path."""
    head = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
    head += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        peer.sendall(call_of(head, message_of(b"")))
        return peer.recv(65_536)


@pytest.mark.parametrize("path", [b"/\xff\xfe", b"/grpc.health.v1.Health/\xff", b"\xc3", b"/x/y", b"*"])
async def test_a_server_outlives_any_path(path: bytes) -> None:
    server = aio_server([], [])
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)  # type: ignore[attr-defined]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await asyncio.to_thread(send, port, path)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            unknown = channel.unary_unary("/x.Y/Z", bytes, bytes)
            calls = [unknown(b"") for _ in range(UNKNOWN_CALLS)]
            assert {await call.code() for call in calls} == {grpc.StatusCode.UNIMPLEMENTED}
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == SERVING
    finally:
        await server.stop(None)


async def test_a_health_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(OSError, match=rf"cannot listen on {address} \(HEALTH_LISTEN\)"):
            health_server(address, health.aio.HealthServicer())  # type: ignore[attr-defined]
