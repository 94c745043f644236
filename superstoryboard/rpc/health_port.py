"""The plaintext port for health checks: probes of Kubernetes speak no TLS, and must get in where callers are many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from superstoryboard.rpc.aio_server import aio_server
from superstoryboard.rpc.limits import ServerLimits
from superstoryboard.rpc.open_services import MAX_REQUEST_BYTES, OpenServices

LIMITS = ServerLimits(connections=256, streams_per_connection=16, connection_grace_seconds=1)


class OpenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Puts the limits of open services around every method."""

    def __init__(self) -> None:
        self._open_services = OpenServices()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, reading bytes under limits; None for an unknown method."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self._open_services.wrap(handler)


def health_server(listen: str, servicer: Any) -> grpc.aio.Server:
    """A server of grpc.health.v1 and nothing else, on this address.

    Raises:
        OSError: the address is taken or not ours.
    """
    options = dict(LIMITS.options()) | {"grpc.max_receive_message_length": MAX_REQUEST_BYTES}
    server = aio_server([OpenInterceptor()], list(options.items()))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen} (HEALTH_LISTEN): {error}") from None
    return server
