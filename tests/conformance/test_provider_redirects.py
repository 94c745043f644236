"""Where a download may be led to: https, public, and nowhere that shows who asks.

The addresses are public and nobody is asked there: whoever asked would meet another error, that of the network.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.google.veo import VeoGemini
from tests.conformance.http_stub import Answer, serve
from tests.emulators.google_fixture import KEY

GOOGLE_URI = "https://generativelanguage.googleapis.com/v1beta/files/abc123:download?alt=media"
FILE = "/v1beta/files/abc123:download"
NO_ADDRESS = ("VIDEO_URL_MISSING", CallOutcome.PAID)


def is_absent(file: Path) -> bool:
    return not file.exists()


async def failure(provider: VeoGemini, uri: str, file: Path) -> tuple[str, CallOutcome]:
    with pytest.raises(ProviderFailure) as caught:
        await provider.download(uri, file, 1000)
    await provider.aclose()
    assert is_absent(file)
    return caught.value.error.code, caught.value.outcome


@pytest.mark.parametrize(
    "location", ["http://8.8.8.8/x", "https://user:word@8.8.8.8:1/x", "https://10.0.0.1:1/x", "https://[fd00::1]:1/x"]
)
async def test_a_redirect_stays_https_public_and_nameless(tmp_path: Path, location: str) -> None:
    async with serve() as stub:
        stub.answers[FILE] = Answer(302, headers={"location": location})
        assert await failure(VeoGemini(api_key=KEY, base_url=stub.url), GOOGLE_URI, tmp_path / "film") == NO_ADDRESS


async def test_what_is_asked_over_https_is_not_asked_in_the_clear(tmp_path: Path) -> None:
    provider = VeoGemini(api_key=KEY, base_url="https://8.8.8.8:1")
    assert await failure(provider, "http://8.8.8.8:1/film", tmp_path / "film") == NO_ADDRESS
