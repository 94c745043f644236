"""Hands a generated file over to the asset_writer: row, staging, row, hint."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from superstoryboard.broker.artifacts import Broker
from superstoryboard.jobs.artifacts import ArtifactFacts, Artifacts, NewArtifact
from superstoryboard.jobs.database import DatabaseUnavailableError
from superstoryboard.jobs.errors import ErrorClass, JobError
from superstoryboard.jobs.work import ClaimedJob, Upload
from superstoryboard.runtime.adoption import Generation
from superstoryboard.runtime.checkpoints import reached
from superstoryboard.runtime.worker import StaleClaimError
from superstoryboard.storage.buckets import IMAGES, VIDEOS
from superstoryboard.storage.errors import StorageError, StorageErrorKind
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import HintMetrics
from superstoryboard.v1.artifact_pb2 import ArtifactReady

RETRY_MIN_SECONDS = 0.5
RETRY_MAX_SECONDS = 15.0
OCTETS = "application/octet-stream"
BUCKETS = {"image": IMAGES.id, "video": VIDEOS.id}

log = get_logger("handoff")


class HandOff:
    """The worker's side of the hand-off."""

    def __init__(
        self,
        artifacts: Artifacts,
        store: ObjectStore,
        staging_bucket: str,
        broker: Broker | None,
        metrics: HintMetrics,
    ) -> None:
        self._artifacts = artifacts
        self._store = store
        self._staging_bucket = staging_bucket
        self._broker = broker
        self._metrics = metrics

    async def hand_over(self, job: ClaimedJob, generation: Generation, file: Path, facts: ArtifactFacts) -> str:
        """Stage a file and give the job to the asset_writer. Answers the job's state.

        Waits for a storage that is away as long as the lease is kept: the bytes are paid for.

        Raises:
            StaleClaimError: the job belongs to someone else by now.
        """
        artifact = await self._artifacts.begin(
            job,
            staging_bucket=self._staging_bucket,
            bucket=BUCKETS[job.kind],
            path_prefix=path_prefix(job, generation),
            facts=facts,
        )
        if artifact is None:
            raise StaleClaimError
        await self._upload(job, artifact.staging_key, file)
        await reached("staged-bytes")
        return await self._announce(job, artifact, facts)

    async def rescue(self, job: ClaimedJob, upload: Upload) -> str | None:
        """Hand over what an earlier claim had already brought to staging. None where its bytes are not all there."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = await self._store.download_to(
                    self._staging_bucket, upload.staging_key, Path(folder) / "artifact", upload.size_bytes
                )
            except StorageError as error:
                log.info("Nothing to rescue from staging", kind=error.kind.value)
                return None
        if found.sha256 != upload.sha256:
            return None
        state = await self._artifacts.stage(upload.artifact_id, job)
        if state is not None:
            log.info("Rescued staged bytes of an earlier claim")
        return state

    async def _upload(self, job: ClaimedJob, key: str, file: Path) -> None:
        delay = RETRY_MIN_SECONDS
        while True:
            try:
                await self._store.upload(self._staging_bucket, key, file, OCTETS)
            except StorageError as error:
                if error.kind in {StorageErrorKind.TOO_LARGE, StorageErrorKind.WRONG_MEDIA_TYPE}:
                    raise
                await self._say(job, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_SECONDS)
            else:
                return

    async def _say(self, job: ClaimedJob, error: StorageError) -> None:
        """Tell the log, and where somebody has to mend the set-up also whoever looks at the job."""
        say = log.error if error.permanent else log.warning
        say("Staging does not take the artifact; it is kept and tried again", kind=error.kind.value, reason=str(error))
        if error.permanent:
            waits_for = JobError(ErrorClass.CONFIG, f"STORAGE_{error.kind.value}", str(error))
            try:
                await self._artifacts.note_error(job.id, waits_for, claim=job.claim)
            except DatabaseUnavailableError:
                log.warning("The database is away too; the job does not show what it waits for")

    async def _announce(self, job: ClaimedJob, artifact: NewArtifact, facts: ArtifactFacts) -> str:
        state = await self._artifacts.stage(artifact.id, job)
        if state is None:
            raise StaleClaimError
        await reached("staged")
        if self._broker is not None and state == "STAGED":
            published = await self._broker.publish(
                ArtifactReady(
                    job_id=str(job.id),
                    claim=job.claim,
                    artifact_id=str(artifact.id),
                    staging_bucket=self._staging_bucket,
                    staging_key=artifact.staging_key,
                    sha256=facts.sha256,
                    size_bytes=facts.size_bytes,
                    media_type=facts.media_type,
                    bucket=artifact.bucket,
                    path=artifact.path,
                    traceparent=job.traceparent,
                )
            )
            self._metrics.sent(published=published)
        return state


def path_prefix(job: ClaimedJob, generation: Generation) -> str:
    """The path in front of the timestamp (SPEC A6): by scene, else by character, else by job."""
    name = generation.scene_id or generation.character_id or str(job.id)
    return f"{generation.storyboard_id}/{name}"
