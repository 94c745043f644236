"""The emulator as a uvicorn server: dropping of connections, log lines, the socket."""

import asyncio
import json
import logging
import socket
import sys
from datetime import UTC, datetime
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import create_app
from .config import Config
from .turns import Emulator

_GRACE_SECONDS = 1
_STANDARD = frozenset(vars(logging.makeLogRecord({})))

log = logging.getLogger("google_emulator")


class _DroppableProtocol(H11Protocol):
    """Hands each connection's transport to the application, so that a script can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _EmulatorServer(uvicorn.Server):
    """Says when it listens, and does not wait for answers that a script holds back."""

    def __init__(self, settings: uvicorn.Config, emulator: Emulator) -> None:
        super().__init__(settings)
        self._emulator = emulator

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or []:
            host, port = sock.getsockname()[:2]
            log.info("listening", extra={"host": host, "port": port})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._emulator.script.stop()
        await super().shutdown(sockets)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        return json.dumps(line)


def make_server(config: Config, *, host: str = "127.0.0.1", port: int = 0) -> tuple[uvicorn.Server, socket.socket]:
    """Return a server and its listening socket; port 0 takes a free one.

    Run it with ``server.run(sockets=[sock])``; in a thread, set ``server.should_exit`` to stop it.
    """
    app = create_app(config)
    settings = uvicorn.Config(
        app,
        http=_DroppableProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        access_log=False,
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return _EmulatorServer(settings, app.state.emulator), _listen(host, port)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _name, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )[0]
    # asyncio turns Nagle's delay of 40 ms off only for sockets that name their protocol.
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    return sock


def log_to_stdout() -> None:
    """Write each log record as one JSON line on standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
