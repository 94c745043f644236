"""The Auth emulator alone, in a thread: key sets as a project publishes them, and every way in which they may fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from devstack.emulators.auth.routes import JWKS_PATH, AuthRoutes
from devstack.emulators.storage.frontend import DroppableProtocol, Frontend, RequestLog
from devstack.emulators.storage.management import ManagementRoutes
from devstack.emulators.storage.script import Script

CALL_SECONDS = 30.0


@dataclass(frozen=True)
class AuthServer:
    """A project's address."""

    url: str

    @property
    def issuer(self) -> str:
        return f"{self.url}/auth/v1"

    @property
    def jwks_url(self) -> str:
        return self.url + JWKS_PATH

    def publish(self, *keys: dict[str, Any]) -> None:
        """These keys and no others from now on."""
        self._call("PUT", "/_emulator/jwks", {"keys": list(keys)})

    def script(self, **entry: Any) -> None:
        """What the next reads get instead."""
        self._call("POST", "/_emulator/script", {"on": "jwks"} | entry)

    def reset(self) -> None:
        """Forget scripts and what was asked."""
        self._call("POST", "/_emulator/reset")

    def reads(self) -> int:
        """How often the keys were asked for since the last reset."""
        return len(self._call("GET", "/_emulator/requests")["requests"])

    def held(self) -> int:
        """Reads that hang now."""
        return int(self._call("GET", "/_emulator/requests")["held"])

    def wait_held(self) -> None:
        """Until a read hangs: asked for again and again, since the server has no event to await."""
        while not self.held():
            pass

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        with httpx.Client(base_url=self.url, timeout=CALL_SECONDS, trust_env=False) as client:
            return client.request(method, path, json=body).raise_for_status().json()


class _QuietLog(RequestLog):
    """Prints nothing: standard output is that of the tests."""

    def add(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @property
    def port(self) -> int:
        return int(self.servers[0].sockets[0].getsockname()[1])


@contextmanager
def auth_server(*keys: dict[str, Any], port: int = 0) -> Iterator[AuthServer]:
    """An Auth that publishes these keys."""
    script, log = Script(), _QuietLog()
    routes = [*ManagementRoutes(script, log).routes(), *AuthRoutes({"keys": list(keys)}).routes()]
    config = uvicorn.Config(
        Frontend(Starlette(routes=routes), script, log),
        port=port,
        http=DroppableProtocol,
        ws="none",
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert server.listening.wait(CALL_SECONDS)
    try:
        yield AuthServer(f"http://127.0.0.1:{server.port}")
    finally:
        server.should_exit = True
        thread.join(CALL_SECONDS)
