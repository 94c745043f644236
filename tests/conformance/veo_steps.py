"""Orders of Veo, and how they failed."""

import httpx
import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.providers.routes import Call
from tests.emulators.google_fixture import (
    KEY,
    VIDEO_MODEL,
)

MAX_BYTES = 50_000_000

OPERATION = f"models/{VIDEO_MODEL}/operations/abc"

CALL = Call(model=VIDEO_MODEL, prompt="a fox in the hills", aspect_ratio="16:9", duration_seconds=4, resolution="720p")


def release(client: httpx.Client) -> None:
    client.post("/_emulator/release").raise_for_status()


def facts(failed: ProviderFailure) -> tuple[str, str, CallOutcome]:
    assert KEY not in failed.error.message
    assert "127.0.0.1" not in failed.error.message
    return failed.error.error_class.value, failed.error.code, failed.outcome


async def submit_failure(veo: VeoGemini, call: Call = CALL) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as caught:
        await veo.submit(call)
    return caught.value


async def poll_failure(veo: VeoGemini, name: str = OPERATION) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as caught:
        await veo.poll(name)
    return caught.value
