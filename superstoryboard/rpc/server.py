"""A gRPC server with health, reflection and our interceptor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from superstoryboard.config.server import ServerSettings
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.ended_calls import quieten_ended_calls
from superstoryboard.rpc.interceptor import CallInterceptor
from superstoryboard.rpc.limits import ServerLimits
from superstoryboard.telemetry.key_metrics import TokenKeyMetrics
from superstoryboard.telemetry.metrics import RpcMetrics


class Server:
    """One listening server of a process; its health starts as NOT_SERVING."""

    def __init__(
        self, listen: str, authenticator: Authenticator, metrics: RpcMetrics, limits: ServerLimits | None = None
    ) -> None:
        limits = limits or ServerLimits()
        quieten_ended_calls()
        self._listen = listen
        self._authenticator = authenticator
        self.server = grpc.aio.server(
            interceptors=[CallInterceptor(authenticator, metrics, limits)], options=limits.options()
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in grpc-stubs
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self._names = ["", health.SERVICE_NAME]

    @classmethod
    def of(cls, settings: ServerSettings, metrics: RpcMetrics) -> Server:
        """The server that the settings ask for."""
        authenticator = Authenticator.of(settings, TokenKeyMetrics(metrics.registry))
        return cls(settings.grpc_listen, authenticator, metrics, ServerLimits.of(settings))

    def add(self, name: str, register: Callable[[Any, Any], None], servicer: Any) -> None:
        """Offer a service by its full name."""
        register(servicer, self.server)
        self._names.append(name)

    async def start(self, *, reflect: bool = True) -> None:
        """Listen, after one try to read what tokens are checked with.

        Raises:
            OSError: the address is taken or not ours.
        """
        await self._authenticator.prepare()
        if reflect:
            reflection.enable_server_reflection([*self._names[1:], reflection.SERVICE_NAME], self.server)
        try:
            self.server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._listen}: {error}") from None
        await self.set_serving(serving=False)
        await self.server.start()

    async def keep_keys(self) -> None:
        """Keep what tokens are checked with fresh."""
        await self._authenticator.run()

    async def set_serving(self, *, serving: bool) -> None:
        """Tell health checks whether the process can do its work."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._service_names():
            await self._health.set(name, status)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let running ones end within the grace period."""
        await self.set_serving(serving=False)
        await self.server.stop(grace_seconds)

    def _service_names(self) -> Iterable[str]:
        return (name for name in self._names if name != health.SERVICE_NAME)
