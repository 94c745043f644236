"""An image on its way from the answer to the asset: how often its bytes are hashed, and what watchers see."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from superstoryboard.db.database import Database
from superstoryboard.providers.google.gemini_images import GeminiImages
from superstoryboard.storage.buckets import ensure_buckets
from superstoryboard.storage.objects import ObjectStore
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import encoded
from tests.emulators.google_fixture import IMAGE_MODEL, KEY, encode
from tests.emulators.storage_fixture import RunningEmulator
from tests.integration.helpers import accept
from tests.integration.workers import BUCKET, image_worker, write_all

PNG = encode(Image.effect_noise((400, 300), 80))


class CountedHash:
    """A hash of the standard library that keeps count of the bytes that it is given."""

    def __init__(self, hashed: list[CountedHash], digest: Any) -> None:
        self._digest = digest
        self.size_bytes = 0
        hashed.append(self)

    def update(self, data: bytes) -> None:
        self.size_bytes += len(data)
        self._digest.update(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._digest, name)


@pytest.fixture
def images_hashed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many SHA-256 of as many bytes as the image have been made since the last look, by whatever code."""
    hashed: list[CountedHash] = []
    new, file_digest = hashlib.sha256, hashlib.file_digest

    def sha256(data: bytes = b"", **options: Any) -> Any:
        counted = CountedHash(hashed, new(**options))
        counted.update(data)
        return counted

    def of_file(file: Any, digest: Any) -> Any:
        assert digest == "sha256"
        return file_digest(file, sha256)

    def look() -> int:
        count = [each.size_bytes for each in hashed].count(len(PNG))
        hashed.clear()
        return count

    monkeypatch.setattr(hashlib, "sha256", sha256)
    monkeypatch.setattr(hashlib, "file_digest", of_file)
    return look


@pytest.fixture
async def buckets(store: ObjectStore) -> ObjectStore:
    await ensure_buckets(store, BUCKET)
    return store


async def make(database: Database, stub: Stub, storage_url: str) -> None:
    """One attempt of an image worker, which Google answers with the image."""
    part = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}
    answer = {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}
    stub.answers[f"/v1beta/models/{IMAGE_MODEL}:generateContent"] = Answer(body=encoded(answer))
    provider = GeminiImages(api_key=KEY, base_url=stub.url)
    async with image_worker(database, provider, storage_url, CollectorRegistry()) as worker:
        (attempt,) = await worker.process(1, force=False)
    assert attempt.state == "STAGED"


async def test_an_image_is_hashed_once_by_its_worker_and_once_by_the_asset_writer(
    database: Database,
    stub: Stub,
    storage_emulator: RunningEmulator,
    buckets: ObjectStore,
    images_hashed: Callable[[], int],
) -> None:
    await accept(database, model=IMAGE_MODEL, generation={"model": IMAGE_MODEL})
    await make(database, stub, storage_emulator.url)
    assert images_hashed() == 1
    await write_all(database, buckets, storage_emulator.url)
    assert images_hashed() == 1
    kept = await database.fetch_one("select state, sha256 from superstoryboard.artifacts")
    assert kept == {"state": "WRITTEN", "sha256": hashlib.sha256(PNG).hexdigest()}


async def test_watchers_of_an_image_hear_of_each_phase_once(
    database: Database, stub: Stub, storage_emulator: RunningEmulator, buckets: ObjectStore
) -> None:
    job_id = await accept(database, model=IMAGE_MODEL, generation={"model": IMAGE_MODEL})
    await make(database, stub, storage_emulator.url)
    await write_all(database, buckets, storage_emulator.url)
    events = await database.fetch(
        "select state, progress_percent from superstoryboard.job_events where job_id = %(id)s order by sequence",
        {"id": job_id},
    )
    assert [tuple(event.values()) for event in events] == [
        ("QUEUED", 0),
        ("RUNNING", 5),
        ("RUNNING", 20),
        ("STAGED", 90),
        ("SUCCEEDED", 100),
    ]
