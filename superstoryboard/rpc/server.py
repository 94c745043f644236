"""A gRPC server with health, reflection and our interceptor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from superstoryboard.config.server import ServerSettings
from superstoryboard.rpc.aio_server import aio_server
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.ended_calls import quieten_ended_calls
from superstoryboard.rpc.health_port import health_server
from superstoryboard.rpc.interceptor import CallInterceptor
from superstoryboard.rpc.limits import ServerLimits
from superstoryboard.rpc.tls import ServerTls
from superstoryboard.rpc.token_copy import TokenTable
from superstoryboard.telemetry.metrics import RpcMetrics
from superstoryboard.telemetry.tls_metrics import TlsMetrics


class Server:
    """One listening server of a process; its health starts as NOT_SERVING."""

    def __init__(
        self,
        listen: str,
        authenticator: Authenticator,
        metrics: RpcMetrics,
        limits: ServerLimits | None = None,
        *,
        tls: ServerTls | None = None,
        health_listen: str | None = None,
    ) -> None:
        limits = limits or ServerLimits()
        quieten_ended_calls()
        self._listen = listen
        self._authenticator = authenticator
        self._tls = tls
        self._health_listen = health_listen
        self._health_server: grpc.aio.Server | None = None
        self.server = aio_server([CallInterceptor(authenticator, metrics, limits)], limits.options())
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in grpc-stubs
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self._names = ["", health.SERVICE_NAME]

    @classmethod
    def of(cls, settings: ServerSettings, registry: CollectorRegistry, tokens: TokenTable) -> Self:
        """The server that the settings ask for; `tokens` keeps the service tokens."""
        files = settings.served_files()
        return cls(
            settings.grpc_listen,
            Authenticator.of(settings, tokens, registry),
            RpcMetrics(registry),
            ServerLimits.of(settings),
            tls=ServerTls(files, TlsMetrics(registry)) if files else None,
            health_listen=settings.health_listen,
        )

    def add(self, name: str, register: Callable[[Any, Any], None], servicer: Any) -> None:
        """Offer a service by its full name."""
        register(servicer, self.server)
        self._names.append(name)

    async def start(self, *, reflect: bool = True) -> None:
        """Listen, after one try to read what tokens are checked with.

        Raises:
            OSError: an address is taken or not ours.
        """
        await self._authenticator.prepare()
        if reflect:
            reflection.enable_server_reflection([*self._names[1:], reflection.SERVICE_NAME], self.server)
        self._bind()
        await self.set_serving(serving=False)
        if self._health_listen is not None:
            self._health_server = health_server(self._health_listen, self._health)
            await self._health_server.start()
        await self.server.start()

    def duties(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What keeps tokens and certificate files current while the process runs, each with its name."""
        yield from self._authenticator.duties()
        if self._tls is not None:
            yield "certificates", self._tls.keep_current()

    async def set_serving(self, *, serving: bool) -> None:
        """Tell health checks whether the process can do its work."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._service_names():
            await self._health.set(name, status)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let running ones end within the grace period."""
        await self.set_serving(serving=False)
        await self.server.stop(grace_seconds)
        if self._health_server is not None:
            await self._health_server.stop(None)

    def _bind(self) -> None:
        try:
            if self._tls is None:
                self.server.add_insecure_port(self._listen)
            else:
                self.server.add_secure_port(self._listen, self._tls.credentials())
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._listen}: {error}") from None

    def _service_names(self) -> Iterable[str]:
        return (name for name in self._names if name != health.SERVICE_NAME)
