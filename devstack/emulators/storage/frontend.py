"""What happens around every request: scripted answers, the request log, one JSON line each."""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .script import SORTS, Script, ScriptedAnswer

_OBJECT_SORTS = {"public": "public", "sign": "download", "authenticated": "download"}
_BLOCK = bytes(64 * 1024)


def write_line(event: str, **facts: Any) -> None:
    """One JSON log line on standard output."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def sort_of(method: str, path: str) -> str:
    """The sort of a request, as scripts and the request log name it."""
    if path.startswith("/auth/v1/"):
        return "jwks"
    parts = path.removeprefix("/storage/v1/").split("/")
    if parts[0] == "bucket":
        return "bucket"
    if method == "DELETE":
        return "remove"
    head = parts[1] if len(parts) > 1 else ""
    if method in ("GET", "HEAD"):
        return "info" if head == "info" else _OBJECT_SORTS.get(head, "download")
    return head if head in SORTS and head in ("list", "move", "copy", "sign") else "upload"


class RequestLog:
    """The latest requests, for tests to read."""

    def __init__(self) -> None:
        self.entries: deque[dict[str, Any]] = deque(maxlen=10_000)

    def add(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        write_line("request", **entry)


class DroppableProtocol(H11Protocol):
    """HTTP connections that a scripted answer can cut off."""

    open_transports: dict[tuple[str, int], asyncio.Transport] = {}  # noqa: RUF012 - one server per process

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer: tuple[str, int] = transport.get_extra_info("peername")[:2]
        self.open_transports[self._peer] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_transports.pop(self._peer, None)
        super().connection_lost(exc)


class _Exchange:
    """Counts the bytes of one request and reads its body to the end before any answer starts.

    An answer that overtakes the body would reset the connection, and the client would see a network
    error in place of the status.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._body_read = False
        self.received_bytes = 0
        self.sent_bytes = 0
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
        self._body_read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            while not self._body_read:
                await self.receive()
            self.status = message["status"]
        else:
            self.sent_bytes += len(message.get("body", b""))
        await self._send(message)

    async def closed(self) -> None:
        """Wait until the connection is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _discard(_message: Message) -> None:
    """Stands in for the client while the real handler works and its answer is to be lost."""


class Frontend:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, script: Script, log: RequestLog) -> None:
        self._app = app
        self._script = script
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(("/storage/v1/", "/auth/v1/")):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        sort = sort_of(scope["method"], scope["path"])
        try:
            await self._answer(scope, exchange, self._script.take(sort, scope["path"]))
        finally:
            sent = exchange.received_bytes if sort == "upload" else exchange.sent_bytes
            self._log.add(
                {
                    "time": time.time(),
                    "on": sort,
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": exchange.status,
                    "bytes": sent,
                }
            )

    async def _answer(self, scope: Scope, exchange: _Exchange, entry: ScriptedAnswer | None) -> None:
        if entry is None or (entry.after and not entry.replaces_answer):
            await self._app(scope, exchange.receive, exchange.send)
            return
        if entry.after:
            await self._app(scope, exchange.receive, _discard)
        await self._script.wait(entry)
        if not entry.replaces_answer:
            await self._app(scope, exchange.receive, exchange.send)
        elif entry.drop and entry.body_bytes is None:
            await self._cut(scope, exchange)
        else:
            await self._send_scripted(entry, exchange.send)
            if entry.drop:
                await self._cut(scope, exchange)

    async def _cut(self, scope: Scope, exchange: _Exchange) -> None:
        transport = DroppableProtocol.open_transports.get(tuple(scope["client"]))
        if transport is not None:
            transport.abort()
            await exchange.closed()

    async def _send_scripted(self, entry: ScriptedAnswer, send: Callable[[Message], Awaitable[None]]) -> None:
        content_type, payload = entry.payload()
        size = len(payload) if entry.body_bytes is None else entry.body_bytes
        headers = {
            "content-type": content_type,
            "content-length": str(size + 1 if entry.drop else size),
            **{name.lower(): value for name, value in entry.headers.items()},
        }
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": entry.status or 200, "headers": raw})
        while entry.body_bytes is not None and size > 0:
            payload = _BLOCK[: min(size, len(_BLOCK))]
            size -= len(payload)
            await send({"type": "http.response.body", "body": payload, "more_body": True})
        for index in range(len(payload) if entry.drip_seconds else 0):
            await asyncio.sleep(entry.drip_seconds)
            await send({"type": "http.response.body", "body": payload[index : index + 1], "more_body": True})
        if entry.drip_seconds:
            payload = b""
        if not entry.drop:
            rest = b"" if entry.body_bytes is not None else payload
            await send({"type": "http.response.body", "body": rest, "more_body": False})
