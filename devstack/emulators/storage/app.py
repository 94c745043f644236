"""The parts put together to one ASGI application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..auth.routes import AuthRoutes
from .access import Keys
from .buckets import BucketRoutes
from .downloads import DownloadRoutes
from .errors import GatewayError, WireError
from .files import ObjectFiles
from .frontend import Frontend, RequestLog
from .management import ManagementRoutes
from .metadata import Metadata
from .objects import ObjectRoutes
from .script import Script
from .signing import Signer


@dataclass(frozen=True)
class Settings:
    """What one emulator process is started with."""

    state_dir: Path
    database_url: str
    keys: Keys
    global_file_size_limit: int | None = None
    key_set: dict[str, Any] = field(default_factory=lambda: {"keys": []})
    """What Auth publishes at the start; an older project, which signs with the shared secret, publishes no key."""


async def _refuse(_request: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, WireError | GatewayError) else await _crash(_request, error)


async def _crash(_request: Request, _error: Exception) -> Response:
    return WireError(500, "Internal", "InternalError", "Internal Server Error").response()


async def _hung_up(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


def build_app(settings: Settings) -> ASGIApp:
    """The emulator as an ASGI application; it connects to Postgres when it starts."""
    keys = settings.keys
    limit = settings.global_file_size_limit
    metadata = Metadata(settings.database_url)
    files = ObjectFiles(settings.state_dir)
    signer = Signer(keys.secret)
    script, log = Script(), RequestLog()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(files.prepare)
        await metadata.open()
        try:
            yield
        finally:
            await metadata.close()

    async def health(_request: Request) -> Response:
        await metadata.ping()
        return JSONResponse({"status": "ok"})

    routes = [
        Route("/health", health, methods=["GET"]),
        *ManagementRoutes(script, log).routes(),
        *AuthRoutes(settings.key_set).routes(),
        *BucketRoutes(keys, metadata, files, limit).routes(),
        *ObjectRoutes(keys, metadata, files, signer, limit).routes(),
        *DownloadRoutes(keys, metadata, files, signer).routes(),
    ]
    handlers = {WireError: _refuse, GatewayError: _refuse, ClientDisconnect: _hung_up, psycopg.Error: _crash}
    handlers[Exception] = _crash
    return Frontend(Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan), script, log)
