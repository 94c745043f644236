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

from superstoryboard.jobs.artifacts import Artifacts, StagedArtifact
from superstoryboard.jobs.database import DatabaseUnavailableError
from superstoryboard.jobs.errors import ErrorClass, JobError
from superstoryboard.media.types import MediaError
from superstoryboard.media.verify import probe
from superstoryboard.runtime.checkpoints import reached
from superstoryboard.storage.buckets import UrlKind
from superstoryboard.storage.errors import StorageError, StorageErrorKind
from superstoryboard.storage.objects import ObjectStore, public_object_url
from superstoryboard.telemetry.logs import bound_contextvars, get_logger
from superstoryboard.telemetry.work_metrics import WriterMetrics

BACKOFF_MIN_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 60.0
PERMANENT = {StorageErrorKind.TOO_LARGE, StorageErrorKind.WRONG_MEDIA_TYPE}

log = get_logger("writer")


class WrongBytesError(Exception):
    """Staged bytes are gone or are not what the worker staged."""


@dataclass(frozen=True)
class Destination:
    """Public address of the Storage and its kinds of URLs, kv table, what becomes of a queue message on success."""

    public_base_url: str
    kv_table: str
    queue_completion: str
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
        lease_seconds: int,
        metrics: WriterMetrics,
    ) -> None:
        self._artifacts = artifacts
        self._store = store
        self._destination = destination
        self._lease_seconds = lease_seconds
        self._metrics = metrics

    async def write(self, artifact: StagedArtifact) -> None:
        """Write one leased artifact; a storage that is away gives it back for later."""
        with bound_contextvars(job_id=str(artifact.job_id), artifact_id=str(artifact.id)):
            started = time.monotonic()
            outcome = "failed"
            try:
                async with self._leased(artifact):
                    outcome = await self._write(artifact)
            except StorageError as error:
                outcome = await self._failed(artifact, error)
            finally:
                self._metrics.ended(artifact.kind, outcome, time.monotonic() - started)

    async def _write(self, artifact: StagedArtifact) -> str:
        with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
            file = Path(folder) / "artifact"
            try:
                await self._fetch(artifact, file)
                await reached("fetched")
                await self._store.upload(artifact.bucket, artifact.path, file, artifact.media_type)
            except WrongBytesError as error:
                if not await self._already_written(artifact, file):
                    return await self._give_back(artifact, error)
        await reached("uploaded")
        return await self._finish(artifact)

    async def _fetch(self, artifact: StagedArtifact, file: Path) -> None:
        """Stream the staged object into a file and prove size, hash and real media type."""
        try:
            found = await self._store.download_to(
                artifact.staging_bucket, artifact.staging_key, file, artifact.size_bytes
            )
        except StorageError as error:
            if error.kind in {StorageErrorKind.MISSING, StorageErrorKind.TOO_LARGE}:
                raise WrongBytesError(f"the staged object is {error.kind.value.lower().replace('_', ' ')}") from error
            raise
        if (found.size_bytes, found.sha256) != (artifact.size_bytes, artifact.sha256):
            raise WrongBytesError("the staged object has another size or hash than the worker staged")
        try:
            facts = await probe(file)
        except MediaError as error:
            raise WrongBytesError(f"the staged object cannot be read: {error}") from error
        if facts.media_type.value != artifact.media_type:
            raise WrongBytesError(f"the staged object is {facts.media_type.value}, not {artifact.media_type}")

    async def _already_written(self, artifact: StagedArtifact, file: Path) -> bool:
        """True where the final object has the right size and hash: a writer before us was stopped at the finish."""
        try:
            found = await self._store.download_to(artifact.bucket, artifact.path, file, artifact.size_bytes)
        except StorageError as error:
            if error.kind in {StorageErrorKind.MISSING, StorageErrorKind.TOO_LARGE}:
                return False
            raise
        return (found.size_bytes, found.sha256) == (artifact.size_bytes, artifact.sha256)

    async def _give_back(self, artifact: StagedArtifact, reason: WrongBytesError) -> str:
        error = JobError(ErrorClass.TRANSIENT, "STAGED_BYTES_LOST", str(reason))
        state = await self._artifacts.give_back(artifact.id, error)
        log.warning("Staged bytes are unusable; the job goes back", reason=str(reason), state=state)
        return "given_back"

    async def _finish(self, artifact: StagedArtifact) -> str:
        url, expires_at = await self._url_of(artifact)
        state, won = await self._artifacts.finish(
            artifact.id,
            kv_table=self._destination.kv_table,
            completion=self._destination.queue_completion,
            url=url,
            url_expires_at=expires_at,
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

    async def _failed(self, artifact: StagedArtifact, error: StorageError) -> str:
        if error.kind in PERMANENT:
            job_error = JobError(ErrorClass.CONFIG, f"STORAGE_{error.kind.value}", str(error))
            state = await self._artifacts.bury(artifact.id, job_error)
            log.error("Storage refuses the asset for good; the artifact is kept", kind=error.kind.value, state=state)
            return "buried"
        if error.permanent:
            # Somebody has to mend the set-up: whoever looks at the job sees what it waits for.
            waits_for = JobError(ErrorClass.CONFIG, f"STORAGE_{error.kind.value}", str(error))
            await self._artifacts.note_error(artifact.job_id, waits_for)
        delay = min(BACKOFF_MIN_SECONDS * 2 ** (artifact.write_attempt - 1), BACKOFF_MAX_SECONDS)
        await self._artifacts.extend(artifact.id, delay)
        say = log.error if error.permanent else log.warning
        say(
            "Storage does not take the asset; it is tried again",
            kind=error.kind.value,
            reason=str(error),
            seconds=delay,
        )
        return "postponed"

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
