"""Serves the metrics of a process over HTTP, in a thread beside the event loop."""

from __future__ import annotations

import asyncio
import socket
import sys
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread

from prometheus_client import CollectorRegistry, MetricsHandler

from superstoryboard.telemetry.logs import get_logger

SCRAPE_TIMEOUT_SECONDS = 5.0
LOOK_FOR_STOP_SECONDS = 0.5

log = get_logger("metrics")


class _Listener(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[MetricsHandler]) -> None:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = addresses[0]
        super().__init__((str(address[0]), port), handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that went away is no trouble of ours."""
        del request, client_address
        log.info("A scrape ended early", kind=type(sys.exception()).__name__)


class MetricsPage:
    """The page of one registry, under any path and without a token; where there is no address there is no page."""

    def __init__(self, listen: str | None, registry: CollectorRegistry) -> None:
        self._listen = listen
        self._handler = type("Handler", (MetricsHandler,), {"registry": registry, "timeout": SCRAPE_TIMEOUT_SECONDS})
        self._listener: _Listener | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is taken or not ours.
        """
        if self._listen is None:
            return
        host, _, port = self._listen.rpartition(":")
        try:
            self._listener = await asyncio.to_thread(_Listener, host.strip("[]"), int(port), self._handler)
        except (OSError, OverflowError) as error:
            raise OSError(f"cannot serve metrics on {self._listen}: {error}") from None
        Thread(target=self._listener.serve_forever, args=(LOOK_FOR_STOP_SECONDS,), name="metrics", daemon=True).start()

    async def aclose(self) -> None:
        """Stop listening."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await asyncio.to_thread(listener.shutdown)
            listener.server_close()
