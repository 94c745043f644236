"""Writes one staged artifact: stream, verify, upload, finish; every step may be repeated."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from superstoryboard.db.errors import DatabaseUnavailableError, RowsLockedError, StatementTimeoutError
from superstoryboard.domain.traces import trace_fields
from superstoryboard.jobs.artifacts import Artifacts, Ending, StagedArtifact
from superstoryboard.process.checkpoints import reached
from superstoryboard.storage.buckets import UrlKind
from superstoryboard.storage.errors import StorageError
from superstoryboard.storage.objects import ObjectStore, public_object_url
from superstoryboard.telemetry.logs import bound_contextvars, get_logger
from superstoryboard.telemetry.work_metrics import WriterMetrics

from .endings import Endings
from .staged import DoubtfulBytesError, fetch_staged, is_written

LOCK_SECONDS = 2.0
LOCK_AGAIN_SECONDS = 0.2
"""How long a finish waits for a row that another session holds: at the first write, and at each one after it."""

log = get_logger("writer")


@dataclass(frozen=True)
class Destination:
    """Public address of the Storage, its kinds of URLs, and how jobs end."""

    public_base_url: str
    ending: Ending
    url_kinds: Mapping[str, UrlKind] = field(default_factory=dict)
    """By bucket; one that is not named has public URLs."""
    signed_url_seconds: int = 604_800


class ArtifactWriter:
    """Brings leased artifacts to their final place."""

    def __init__(
        self,
        artifacts: Artifacts,
        store: ObjectStore,
        destination: Destination,
        endings: Endings,
        *,
        lease_seconds: int,
        metrics: WriterMetrics,
    ) -> None:
        self._artifacts = artifacts
        self._store = store
        self._destination = destination
        self._endings = endings
        self._lease_seconds = lease_seconds
        self._metrics = metrics

    async def write(self, artifact: StagedArtifact) -> None:
        """Write one leased artifact. Whatever stands in the way shows in the job, and the artifact is kept.

        Raises:
            DatabaseUnavailableError: nothing could be recorded; the lease ends by itself.
        """
        trace = trace_fields(artifact.traceparent)
        with bound_contextvars(job_id=str(artifact.job_id), artifact_id=str(artifact.id), **trace):
            started = time.monotonic()
            outcome = "failed"
            try:
                outcome = await self._written_or_ended(artifact)
            except asyncio.CancelledError:
                await self._let_go(artifact)
                raise
            finally:
                self._metrics.ended(artifact.kind, outcome, time.monotonic() - started)

    async def _written_or_ended(self, artifact: StagedArtifact) -> str:
        uploaded = False
        try:
            async with self._leased(artifact):
                await self._bring(artifact)
                uploaded = True
                await reached("uploaded")
                return await self._finish(artifact)
        except (RowsLockedError, StatementTimeoutError) as error:
            return await self._endings.failed(artifact, error, uploaded=uploaded)
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not come back as fast as it can for ever
            return await self._endings.failed(artifact, error, uploaded=uploaded)

    async def _bring(self, artifact: StagedArtifact) -> None:
        """Have the object in its final place: verified bytes of staging, or what an earlier write brought there."""
        if artifact.uploaded and await self._is_in_place(artifact):
            return
        with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
            file = Path(folder) / "artifact"
            try:
                await fetch_staged(self._store, artifact, file)
            except DoubtfulBytesError:
                if not await is_written(self._store, artifact, file):
                    raise
            else:
                await reached("fetched")
                await self._store.upload(artifact.bucket, artifact.path, file, artifact.media_type)

    async def _is_in_place(self, artifact: StagedArtifact) -> bool:
        stored = await self._store.stat(artifact.bucket, artifact.path)
        return stored is not None and stored.size_bytes == artifact.size_bytes

    async def _finish(self, artifact: StagedArtifact) -> str:
        url, expires_at = await self._url_of(artifact)
        state, won = await self._artifacts.finish(
            artifact.id,
            self._destination.ending,
            url=url,
            url_expires_at=expires_at,
            lock_timeout_seconds=LOCK_SECONDS if artifact.write_attempt == 1 else LOCK_AGAIN_SECONDS,
        )
        log.info("Asset written", state=state, won=won, bucket=artifact.bucket, path=artifact.path)
        await reached("finished")
        if not won:
            return "out_of_date"
        self._metrics.stored(artifact.kind, artifact.size_bytes)
        await self._remove_staged(artifact)
        return "written"

    async def _url_of(self, artifact: StagedArtifact) -> tuple[str, datetime | None]:
        """The URL of the stored object, and when it ends: never sooner than is said."""
        if self._destination.url_kinds.get(artifact.bucket) is not UrlKind.SIGNED:
            return public_object_url(self._destination.public_base_url, artifact.bucket, artifact.path), None
        seconds = self._destination.signed_url_seconds
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        return await self._store.signed_url(artifact.bucket, artifact.path, seconds), expires_at

    async def _remove_staged(self, artifact: StagedArtifact) -> None:
        try:
            await self._store.remove(artifact.staging_bucket, [artifact.staging_key])
        except StorageError as error:
            log.warning("The staged object could not be removed", kind=error.kind.value)

    async def _let_go(self, artifact: StagedArtifact) -> None:
        """The process stops: another writer takes the artifact at once."""
        with suppress(DatabaseUnavailableError):
            await self._artifacts.extend(artifact.id, 0)

    @asynccontextmanager
    async def _leased(self, artifact: StagedArtifact) -> AsyncIterator[None]:
        """Keep the lease meanwhile; what comes after may set it anew."""
        heartbeat = asyncio.create_task(self._heartbeat(artifact))
        try:
            yield
        finally:
            heartbeat.cancel()
            await asyncio.wait({heartbeat})

    async def _heartbeat(self, artifact: StagedArtifact) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            with suppress(DatabaseUnavailableError):  # tried again at the next beat
                await self._artifacts.extend(artifact.id, self._lease_seconds)
