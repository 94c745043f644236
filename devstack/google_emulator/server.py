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

from devstack.google_emulator.app import create_app
from devstack.google_emulator.config import Config

_GRACE_SECONDS = 1
_STANDARD = frozenset(vars(logging.makeLogRecord({})))

log = logging.getLogger("google_emulator")


class _DroppableProtocol(H11Protocol):
    """Hands each connection's transport to the application, so that a script can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _AnnouncingServer(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or []:
            host, port = sock.getsockname()[:2]
            log.info("listening", extra={"host": host, "port": port})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        return json.dumps(line)


def make_server(
    config: Config, *, host: str = "127.0.0.1", port: int = 0
) -> tuple[uvicorn.Server, socket.socket]:
    """Return a server and its listening socket; port 0 takes a free one.

    Run it with ``server.run(sockets=[sock])``; in a thread, set ``server.should_exit`` to stop it.
    """
    settings = uvicorn.Config(
        create_app(config),
        http=_DroppableProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        access_log=False,
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    sock = socket.create_server((host, port), backlog=2048)
    return _AnnouncingServer(settings), sock


def log_to_stdout() -> None:
    """Write each log record as one JSON line on standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
