"""Answers of a provider are read up to a limit and as they are sent: nothing unfolds, nothing fills the memory."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.google.access import ApiKey
from superstoryboard.providers.google.rest import Rest, Timeouts
from superstoryboard.providers.google.veo import VeoGemini
from tests.conformance.http_stub import Answer, serve
from tests.conformance.video_routes import FILE_PATH, FILE_URI, KEY

GZIP = {"content-encoding": "gzip"}
CHUNK_BYTES = 1024 * 1024


async def test_of_a_long_answer_only_the_beginning_is_read() -> None:
    async with serve() as stub:
        stub.answers["/long"] = Answer(body=b'"' + b"x" * 20_000_000 + b'"')
        rest = Rest(ApiKey(KEY), Timeouts())
        answer = await rest.read("GET", f"{stub.url}/long", limit=1000)
        await rest.aclose()
    assert 1000 < len(answer.body) <= 1000 + CHUNK_BYTES
    assert (answer.whole, answer.json()) == (False, None)


async def test_an_answer_that_calls_itself_compressed_is_not_believed() -> None:
    async with serve() as stub:
        stub.answers["/odd"] = Answer(body=b'{"done": true}', headers=GZIP)
        rest = Rest(ApiKey(KEY), Timeouts())
        answer = await rest.read("GET", f"{stub.url}/odd", limit=1000)
        await rest.aclose()
    assert (answer.whole, answer.json()) == (False, None)


async def test_a_compressed_film_is_not_kept(tmp_path: Path) -> None:
    async with serve() as stub:
        stub.answers[FILE_PATH] = Answer(body=gzip.compress(bytes(1_000_000)), headers=GZIP)
        provider = VeoGemini(api_key=KEY, base_url=stub.url)
        with pytest.raises(ProviderFailure) as caught:
            await provider.download(FILE_URI, tmp_path / "film", 10_000_000)
        await provider.aclose()
    assert caught.value.outcome is CallOutcome.PAID
    assert not (tmp_path / "film").exists()
