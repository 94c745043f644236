"""Hands a generated file over to the asset_writer: row, staging, row, hint."""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from superstoryboard.broker.artifacts import Broker
from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.domain.media import MediaFacts
from superstoryboard.jobs.artifacts import Artifacts, NewArtifact
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import ClaimedJob, Upload
from superstoryboard.media.types import MediaError
from superstoryboard.media.verify import measure
from superstoryboard.process.checkpoints import reached
from superstoryboard.storage.errors import StorageError, StorageErrorKind
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import HintMetrics
from superstoryboard.v1.artifact_pb2 import ArtifactReady
from superstoryboard.worker.attempt.errors import DeadLetterError, StaleClaimError, WaitsError
from superstoryboard.worker.attempt.intent import Intent
from superstoryboard.worker.attempt.staging import OCTETS, Staging

RETRY_MIN_SECONDS = 0.5
RETRY_MAX_SECONDS = 15.0
LOOK_AGAIN_SECONDS = 5
OF_THE_OBJECT = {StorageErrorKind.TOO_LARGE, StorageErrorKind.WRONG_MEDIA_TYPE}
"""Refusals that say something about one object, and nothing about the next."""
CALL_INTERRUPTED = JobError(
    ErrorClass.UNKNOWN_OUTCOME,
    "CALL_INTERRUPTED",
    "The worker stopped during the call. The image may have been charged and is not in staging.",
)

log = get_logger("handoff")


@dataclass(frozen=True)
class Result:
    """One result of a job: a file that can be fetched again, and what it is."""

    file: Path
    facts: MediaFacts


class HandOff:
    """The worker's side of the hand-off."""

    def __init__(
        self,
        artifacts: Artifacts,
        ledger: Ledger,
        staging: Staging,
        broker: Broker | None,
        metrics: HintMetrics,
    ) -> None:
        self._artifacts = artifacts
        self._ledger = ledger
        self._staging = staging
        self._broker = broker
        self._metrics = metrics

    async def hand_over(self, job: ClaimedJob, results: Sequence[Result]) -> str:
        """Stage files that can be fetched again and give the job to the asset_writer. Returns the job's state.

        All results of the job, in their order; nobody gets one before all are staged. Waits for a Storage or database
        that is away.

        Raises:
            StaleClaimError: the job belongs to someone else by now.
            DeadLetterError: Storage refuses one of the files for good.
        """
        artifacts = await self._begin(job, [result.facts for result in results])
        for artifact, result in zip(artifacts, results, strict=True):
            await self._upload(job, artifact.staging_key, result.file)
            await reached("staged-bytes")
        return await self._announce(job, artifacts)

    async def hand_over_answer(self, job: ClaimedJob, intent: Intent, data: bytes, facts: MediaFacts) -> str:
        """Stage the paid answer of a call and give the job to the asset_writer. Returns the job's state.

        The bytes go up first, to the place that is known since the intent: whoever gets the job finds them there, also
        where the database is away. Storage and database are waited for as long as the process lives.

        Raises:
            StaleClaimError: another call was opened meanwhile.
            DeadLetterError: Storage refuses these bytes for good.
        """
        await self._upload(job, intent.staging_key, data, intent.call_id)
        await reached("staged-bytes")
        return await self._announce(job, await self._begin(job, [facts]))

    async def rescue(self, job: ClaimedJob, upload: Upload) -> str:
        """Hand over what the call of an earlier claim has left in staging. Returns the job's state.

        Raises:
            WaitsError: Storage does not answer well; or says that the bytes are not there, and is asked again later; or
                said so again, they are given up, and the next claim may call.
            StaleClaimError: the job belongs to someone else by now.
            OSError: the worker cannot write a file.
        """
        with tempfile.TemporaryDirectory(prefix="rescue-") as folder:
            try:
                facts = await self._fetch(upload, Path(folder) / "artifact")
            except StorageError as error:
                raise _waits(str(error)) from error
        if facts is None:
            await self._miss(job, upload)
        artifacts = await self._begin(job, [facts])
        log.info("Recovered the result of an earlier call from staging")
        return await self._announce(job, artifacts)

    async def _fetch(self, upload: Upload, file: Path) -> MediaFacts | None:
        """What is in staging; None where Storage itself says that there is nothing, or something else."""
        store, bucket = self._staging.store, self._staging.bucket
        listing = await store.stat(bucket, upload.staging_key)
        if listing is None:
            return None
        copy = await store.download_to(bucket, upload.staging_key, file, listing.size_bytes)
        if copy.size_bytes != listing.size_bytes:
            raise StorageError(StorageErrorKind.UNAVAILABLE, "Storage returned an object of the wrong size")
        if upload.sha256 not in {None, copy.sha256}:
            return None
        try:
            return await measure(file, copy.size_bytes, copy.sha256)
        except MediaError:
            return None

    async def _miss(self, job: ClaimedJob, upload: Upload) -> NoReturn:
        """Nothing of an earlier call is in staging, if Storage shows this worker what is there."""
        problem = await self._staging.problem()
        if problem is not None:
            raise _waits(problem)
        seconds = await self._artifacts.miss(
            upload.artifact_id, job, patience_seconds=self._staging.patience_seconds, error=CALL_INTERRUPTED
        )
        if seconds is None:
            raise StaleClaimError
        log.warning("Staging does not have the result of an earlier call", look_again_seconds=round(seconds, 1))
        raise WaitsError(CALL_INTERRUPTED, math.ceil(seconds))

    async def _begin(self, job: ClaimedJob, results: Sequence[MediaFacts]) -> list[NewArtifact]:
        artifacts = await self._artifacts.begin(job, staging_bucket=self._staging.bucket, results=results)
        if not artifacts:
            raise StaleClaimError
        return artifacts

    async def _upload(self, job: ClaimedJob, key: str, source: Path | bytes, call_id: int | None = None) -> None:
        """Try until Storage takes it. With `call_id` these bytes are all there is of that paid call."""
        tries = 0
        last_accepted_at = time.monotonic()  # or at least not refused for good
        while True:
            try:
                await self._staging.store.upload(self._staging.bucket, key, source, OCTETS)
            except StorageError as error:
                await self._report_failure(job, error, call_id)
                if error.kind not in OF_THE_OBJECT:
                    last_accepted_at = time.monotonic()
                elif time.monotonic() - last_accepted_at >= self._staging.patience_seconds:
                    raise DeadLetterError(_job_error(error)) from error
                tries += 1
                await asyncio.sleep(backoff_seconds(tries, RETRY_MIN_SECONDS, RETRY_MAX_SECONDS))
            else:
                return

    async def _report_failure(self, job: ClaimedJob, error: StorageError, call_id: int | None) -> None:
        """Tell the ledger that the call was paid, and log, job and worker where somebody has to mend the set-up."""
        if error.permanent:
            self._staging.doubt()
        say = log.error if error.permanent else log.warning
        say("Staging upload failed; retrying", kind=error.kind.value, reason=str(error))
        try:
            if call_id is not None:
                await self._ledger.settle_paid(call_id)
            if error.permanent:
                await self._artifacts.note_error(job.id, _job_error(error), claim=job.claim)
        except Exception as failure:  # noqa: BLE001 - whatever it is, these bytes may be the only ones
            log.warning("The error could not be recorded; the artifact is kept", kind=type(failure).__name__)

    async def _announce(self, job: ClaimedJob, artifacts: Sequence[NewArtifact]) -> str:
        state = await self._artifacts.stage([artifact.id for artifact in artifacts], job)
        if state is None:
            raise StaleClaimError
        await reached("staged")
        if self._broker is not None and state == "STAGED":
            for artifact in artifacts:
                published = await self._broker.publish(
                    ArtifactReady(artifact_id=str(artifact.id), traceparent=job.traceparent)
                )
                self._metrics.sent(published=published)
        return state


def _waits(reason: str) -> WaitsError:
    message = f"Staging cannot be read: {reason}. The job waits."
    return WaitsError(JobError(ErrorClass.UNAVAILABLE_DEPENDENCY, "STAGING_UNAVAILABLE", message), LOOK_AGAIN_SECONDS)


def _job_error(error: StorageError) -> JobError:
    return JobError(ErrorClass.CONFIG, f"STORAGE_{error.kind.value}", str(error))
