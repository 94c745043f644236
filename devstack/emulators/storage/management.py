"""Routes under `/_emulator` by which tests program the next answers and read what was asked."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .frontend import RequestLog
from .script import Script, ScriptedAnswer


class ManagementRoutes:
    """Needs no key: the emulator listens on loopback only."""

    def __init__(self, script: Script, log: RequestLog) -> None:
        self._script = script
        self._log = log

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/_emulator/script", self.script, methods=["POST"]),
            Route("/_emulator/release", self.release, methods=["POST"]),
            Route("/_emulator/requests", self.requests, methods=["GET"]),
            Route("/_emulator/reset", self.reset, methods=["POST"]),
        ]

    async def script(self, request: Request) -> Response:
        try:
            given: Any = await request.json()
            entries = [ScriptedAnswer.parse(entry) for entry in (given if isinstance(given, list) else [given])]
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        self._script.add(entries)
        return JSONResponse({"scripted": len(entries)})

    async def release(self, _request: Request) -> Response:
        return JSONResponse({"released": self._script.release()})

    async def requests(self, _request: Request) -> Response:
        return JSONResponse({"requests": list(self._log.entries), "held": self._script.held})

    async def reset(self, _request: Request) -> Response:
        """Forget script, held requests and the log; objects and buckets stay."""
        self._script.reset()
        self._log.entries.clear()
        return JSONResponse({})
