"""Fetches of source images."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import pytest
from PIL import Image

from superstoryboard.domain.errors import JobError, JobFailure
from superstoryboard.providers.addresses import Address
from superstoryboard.providers.source import SourceFetcher
from tests.conformance.http_stub import Stub

OBJECT = "/storage/v1/object/public/storyboard-images/a.png"


def picture(form: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (12, 8), "teal").save(buffer, form)
    return buffer.getvalue()


def is_loopback(address: Address) -> bool:
    return address.is_loopback


async def anyone(storyboard: str) -> bool:
    del storyboard
    return True


@asynccontextmanager
async def fetcher(storage: Stub, *hosts: str, max_bytes: int = 100_000) -> AsyncIterator[SourceFetcher]:
    sources = SourceFetcher([storage.url], hosts, max_bytes=max_bytes, timeout_seconds=60)
    try:
        yield sources
    finally:
        await sources.aclose()


async def failure(sources: SourceFetcher, url: str) -> JobError:
    with pytest.raises(JobFailure) as caught:
        await sources.fetch(url, anyone)
    assert "127.0.0.1" not in caught.value.error.message
    return caught.value.error
