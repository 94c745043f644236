"""The part of Supabase Auth that a verifier needs: the public keys of the project's tokens, open to everyone."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

JWKS_PATH = "/auth/v1/.well-known/jwks.json"
CACHE_CONTROL = "public, max-age=600"


class AuthRoutes:
    """Publishes the keys that it was given last. What signs with them is outside: the emulator holds no private key."""

    def __init__(self, key_set: dict[str, Any]) -> None:
        self._key_set = key_set

    def routes(self) -> list[BaseRoute]:
        return [
            Route(JWKS_PATH, self.published, methods=["GET"]),
            Route("/_emulator/jwks", self.replace, methods=["PUT"]),
        ]

    async def published(self, _request: Request) -> Response:
        return JSONResponse(self._key_set, headers={"cache-control": CACHE_CONTROL})

    async def replace(self, request: Request) -> Response:
        """Rotation: publish these keys from now on, `{"keys": [...]}`, good or bad."""
        try:
            given = await request.json()
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        if not isinstance(given, dict) or not isinstance(given.get("keys"), list):
            return JSONResponse({"error": "must be an object with a list `keys`"}, status_code=400)
        self._key_set = given
        return JSONResponse({"published": len(given["keys"])})
