"""One request from arrival to answer: credential, script, record of payment, log line."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .config import Config
from .errors import ApiError, Surface, invalid, plain_error
from .journal import Exchange, Journal, Row
from .operations import Operation, Operations, Order
from .script import DroppedError, Entry, Script
from .video_call import VideoCall

_MAX_BODY_BYTES = 100 * 1024 * 1024

log = logging.getLogger("google_emulator")


class Emulator:
    """The parts that all requests share. Reads what is on disk when it is made."""

    def __init__(self, config: Config) -> None:
        config.state_dir.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.script = Script()
        self.journal = Journal(Path(config.state_dir) / "requests.jsonl")
        self.operations = Operations(
            config.state_dir,
            video_seconds=config.video_seconds,
            processing_seconds=config.processing_seconds,
            renders_at_once=config.renders_at_once,
            frames_per_second=config.frames_per_second,
        )
        self._account_for_the_unrecorded()

    def _account_for_the_unrecorded(self) -> None:
        """An operation is kept before it is counted; a kill between the two is made good here."""
        counted = self.journal.operations()
        for operation in self.operations.accepted_after(self.journal.since):
            if operation.name not in counted:
                path = operation.submit_path or f"/v1beta/models/{operation.model}:predictLongRunning"
                exchange = Exchange(on="submit", method="POST", path=path, model=operation.model)
                exchange.surface = operation.surface
                exchange.prompt, exchange.operation = operation.prompt, operation.name
                exchange.time = operation.accepted_at
                self.journal.accept(exchange)


class ScriptedError(Exception):
    """A scripted response takes the place of the normal one."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Turn:
    """What a handler works with while it answers one request."""

    def __init__(self, emulator: Emulator, request: Request, on: str, surface: Surface) -> None:
        self.emulator = emulator
        self.request = request
        self.surface = surface
        self.exchange = Exchange(on=on, method=request.method, path=request.url.path, surface=surface)
        self._row: Row | None = None

    async def body(self) -> bytes:
        """Return the request body; raise ApiError 400 beyond the service's limit of 100 MB."""
        chunks, size = [], 0
        async for chunk in self.request.stream():
            size += len(chunk)
            if size > _MAX_BODY_BYTES:
                raise invalid(f"Request payload size exceeds the limit: {_MAX_BODY_BYTES} bytes.")
            chunks.append(chunk)
        return b"".join(chunks)

    async def begin(self, prompt: str) -> Entry:
        """Take the scripted answer for this request; raise when it ends the request unpaid."""
        self.exchange.prompt = prompt
        on = self.exchange.on
        entry = self.emulator.script.take(on, prompt) or Entry(on=on)
        if entry.drop == "before_accept":
            await self.emulator.script.lateness(entry)
            raise DroppedError
        response = self._scripted_response(entry)
        if response is not None and entry.drop is None and not self._paid(entry):
            await self.emulator.script.lateness(entry)
            raise ScriptedError(response)
        return entry

    async def accept(self) -> None:
        """Record this call as paid for, on disk, before anything is answered."""
        self._row = await asyncio.to_thread(self.emulator.journal.accept, self.exchange)

    async def create(
        self, call: VideoCall, entry: Entry, *, model: str, parent: str = "", ask: Mapping[str, Any] | None = None
    ) -> Operation:
        """Take the order of a video: keep it, record it as paid for, begin its film."""
        operations, exchange = self.emulator.operations, self.exchange
        order = Order(
            model=model,
            surface=self.surface,
            submit_path=exchange.path,
            accepted_at=exchange.time,
            parent=parent,
            ask=ask or {},
        )
        operation = operations.new(call, order, entry)
        exchange.operation = operation.name
        await asyncio.to_thread(operations.keep, operation, call.source)
        await self.accept()
        operations.start(operation)
        return operation

    async def finish(self, entry: Entry, response: Response) -> Response:
        """Return the answer when the script lets it go; raise DroppedError when it swallows it."""
        await self.emulator.script.lateness(entry)
        scripted = self._scripted_response(entry)
        if entry.drop is not None or scripted is not None:
            self.exchange.sha256 = None
        if entry.drop is not None:
            raise DroppedError
        return scripted or response

    async def close(self, status: int | None) -> None:
        """Record and log how the request ended; ``status`` None when no answer was sent."""
        self.exchange.dropped = status is None
        if self._row is None:
            await asyncio.to_thread(self.emulator.journal.note, self.exchange, status)
        else:
            self._row.update(self.exchange.row(status))
        facts = {"on": self.exchange.on, "route": self.exchange.path, "model": self.exchange.model}
        log.info("request", extra=facts | {"method": self.exchange.method, "status": status})

    def _paid(self, entry: Entry) -> bool:
        success = entry.replaces and entry.status in (None, 200)
        return entry.accept or (success and self.exchange.on == "image")

    def _scripted_response(self, entry: Entry) -> Response | None:
        error = entry.error(self.exchange.model, self.exchange.on, self.surface)
        if error is not None:
            return JSONResponse(error.body(self.surface), error.code, headers=entry.headers)
        if not entry.replaces:
            return None
        status = entry.status or 200
        if isinstance(entry.body, str):
            return Response(entry.body, status, headers=dict(entry.headers))
        body = entry.body
        if body is None:
            body = plain_error(status).body(self.surface) if status >= 400 else {}
        return JSONResponse(body, status, headers=entry.headers)


def product_route(
    on: str, handler: Callable[[Turn], Awaitable[Response]], surface: Surface = "gemini"
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that runs ``handler`` inside a :class:`Turn`."""

    async def endpoint(request: Request) -> Response:
        turn = Turn(request.app.state.emulator, request, on, surface)
        status: int | None = None
        try:
            response = await handler(turn)
            status = response.status_code
        except ApiError as error:
            response = JSONResponse(error.body(surface), error.code)
            status = error.code
        except ScriptedError as scripted:
            response = scripted.response
            status = response.status_code
        except DroppedError:
            response = _cut(request)
        await turn.close(status)
        return response

    return endpoint


def _cut(request: Request) -> Response:
    """Close the connection; what is written to it after that goes nowhere."""
    request.state.transport.abort()
    return Response()
