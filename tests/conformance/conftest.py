"""What the suites ask: the Google emulator, and servers whose answers a test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from superstoryboard.providers.google.rest import Timeouts
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.providers.routes import OperationRoute
from tests.conformance.http_stub import Stub
from tests.conformance.video_routes import ROUTES, VideoRoute
from tests.emulators.google.conftest import client, emulator, emulator_options
from tests.emulators.google_fixture import KEY, GoogleEmulator

__all__ = ["client", "emulator", "emulator_options"]


@pytest.fixture
async def veo(emulator: GoogleEmulator, client: httpx.Client) -> AsyncIterator[VeoGemini]:
    del client
    adapter = VeoGemini(api_key=KEY, base_url=emulator.url)
    yield adapter
    await adapter.aclose()


@pytest.fixture
async def stubbed(stub: Stub) -> AsyncIterator[VeoGemini]:
    adapter = VeoGemini(api_key=KEY, base_url=stub.url)
    yield adapter
    await adapter.aclose()


@pytest.fixture(params=ROUTES, ids=lambda route: route.name)
def route(request: pytest.FixtureRequest) -> VideoRoute:
    """Each video route in turn."""
    video_route: VideoRoute = request.param
    return video_route


@pytest.fixture
async def provider(route: VideoRoute, stub: Stub) -> AsyncIterator[OperationRoute]:
    made = route.make(stub.url, Timeouts())
    yield made
    await made.aclose()


@pytest.fixture
def storage(stub: Stub) -> Stub:
    """The server in the place of Storage."""
    return stub
