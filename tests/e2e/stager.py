"""Stages artifacts by hand, as a worker would."""

from __future__ import annotations

import hashlib
from io import BytesIO

from PIL import Image

from superstoryboard.db.database import Database
from superstoryboard.domain.media import MediaFacts, MediaType
from superstoryboard.jobs.artifacts import Artifacts, NewArtifact
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import Pipeline
from tests.emulators.storage_fixture import STAGING_BUCKET
from tests.integration.helpers import image_queue, intend


def encoded(kind: str = "PNG", colour: str = "teal") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (32, 18), colour).save(buffer, kind)
    return buffer.getvalue()


class Stager:
    """Does a worker's part of the hand-off, with whatever bytes a test wants."""

    def __init__(self, running: Pipeline, database: Database, store: ObjectStore) -> None:
        self._running = running
        self._database = database
        self._artifacts = Artifacts(database)
        self.store = store

    async def stage(self, board: str, said: bytes, staged: bytes | None) -> tuple[job_pb2.Job, NewArtifact]:
        """Stage an artifact that is said to be these bytes while others (or none) lie in staging."""
        self._running.put(f"scene:{board}:s1", {"id": "s1"})
        job = self._running.image(board, scene_id="s1")
        (claimed,) = await image_queue(self._database).claim(1, 60)
        assert str(claimed.id) == job.id
        await intend(self._database, claimed)
        digest = hashlib.sha256(said).hexdigest()
        facts = MediaFacts(media_type=MediaType.PNG, size_bytes=len(said), sha256=digest, width=32, height=18)
        (new,) = await self._artifacts.begin(claimed, staging_bucket=STAGING_BUCKET, results=[facts])
        if staged is not None:
            await self.store.upload(STAGING_BUCKET, new.staging_key, staged, "application/octet-stream")
        assert await self._artifacts.stage([new.id], claimed) == "STAGED"
        return job, new
