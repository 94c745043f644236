"""What doctor asks of Storage, where something answers that is none, or nothing does."""

from __future__ import annotations

from uuid import UUID

import pytest

from superstoryboard.inspection.storage import Rights, StorageInspectionError, inspect_storage
from tests.conformance.http_stub import Answer, Stub


async def test_storage_that_takes_too_long_or_has_no_url(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    monkeypatch.setattr("superstoryboard.inspection.storage.TIMEOUT_SECONDS", 0.0)
    with pytest.raises(StorageInspectionError, match="did not respond in time"):
        async with inspect_storage(stub.url) as inspection:
            await inspection.buckets("key")
    with pytest.raises(StorageInspectionError, match="not an http or https URL"):
        async with inspect_storage("storage.example"):
            pass


async def test_storage_that_gives_back_something_else(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    name = UUID(int=1)
    monkeypatch.setattr("superstoryboard.inspection.storage.uuid4", lambda: name)
    for path in ("", f"/doctor/{name.hex}.png"):
        stub.answers[f"/storage/v1/object/bucket{path}"] = Answer(200, b"[{}]")
    async with inspect_storage(stub.url) as inspection:
        done = await inspection.probe("key", "bucket", "image/png")
    assert (done.write, done.read) == (Rights.ALLOWED, Rights.MISSING)
