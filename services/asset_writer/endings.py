"""What becomes of a write that did not end: it waits, is counted, gives the job back or buries it; the job shows it."""

from __future__ import annotations

from dataclasses import dataclass

from superstoryboard.db.errors import RowsLockedError, StatementTimeoutError, refused_state
from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.artifacts import Artifacts, Ending, StagedArtifact
from superstoryboard.storage.errors import StorageError, StorageErrorKind
from superstoryboard.telemetry.logs import get_logger

from .staged import DoubtfulBytesError, UnusableBytesError

BACKOFF_MIN_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 60.0
DOUBTS = 3
"""Reads at which staged bytes must seem gone or wrong, before that is believed."""
REFUSED_FOR_GOOD = frozenset({StorageErrorKind.TOO_LARGE, StorageErrorKind.WRONG_MEDIA_TYPE})
SETUP_CLASS = "42"
"""SQLSTATE class of a missing kv table or right: somebody mends the set-up, and the write goes on."""

log = get_logger("writer")


@dataclass(frozen=True)
class Patience:
    """How often a write may be refused, and over how many seconds staged bytes must seem gone or wrong."""

    refusals: int = 10
    doubt_seconds: float = 600


class Endings:
    """Ends writes that failed; each returns its word for the metrics."""

    def __init__(self, artifacts: Artifacts, ending: Ending, patience: Patience) -> None:
        self._artifacts = artifacts
        self._ending = ending
        self._patience = patience

    async def failed(self, artifact: StagedArtifact, error: Exception, *, uploaded: bool) -> str:
        """Decide by what stopped the write. `uploaded`: the object is in its final place, the finish is missing."""
        if isinstance(error, DoubtfulBytesError):
            return await self._doubted(artifact, error)
        if isinstance(error, UnusableBytesError):
            return await self._bury(artifact, JobError(ErrorClass.CONFIG, "ARTIFACT_UNUSABLE", str(error)))
        if isinstance(error, StorageError) and error.kind in REFUSED_FOR_GOOD:
            return await self._bury(artifact, JobError(ErrorClass.CONFIG, f"STORAGE_{error.kind.value}", str(error)))
        waits_for = _waits_for(error)
        if waits_for is not None:
            return await self._postpone(artifact, "WAIT", waits_for, uploaded=uploaded)
        return await self._refused(artifact, _refusal(error), uploaded=uploaded)

    async def _doubted(self, artifact: StagedArtifact, error: DoubtfulBytesError) -> str:
        """Send the job back only after several reads, the last long after the first."""
        lost = JobError(ErrorClass.TRANSIENT, "STAGED_BYTES_LOST", str(error))
        long_enough = artifact.doubted_seconds is not None and artifact.doubted_seconds >= self._patience.doubt_seconds
        if artifact.doubts + 1 >= DOUBTS and long_enough:
            state = await self._artifacts.give_back(artifact.id, lost, self._ending)
            log.warning("Staged bytes are missing or corrupt and are given up", reason=str(error), state=state)
            return "given_back"
        delay = max(BACKOFF_MIN_SECONDS / 2, self._patience.doubt_seconds / (DOUBTS - 1))
        doubted = JobError(
            ErrorClass.UNAVAILABLE_DEPENDENCY,
            "STAGED_BYTES_UNVERIFIED",
            f"The staged object could not be verified: {error}",
        )
        await self._artifacts.postpone(artifact.id, "DOUBT", delay, doubted)
        log.warning("Staged bytes may be missing or corrupt; reading them again", reason=str(error), seconds=delay)
        return "postponed"

    async def _refused(self, artifact: StagedArtifact, error: JobError, *, uploaded: bool) -> str:
        if artifact.refusals + 1 >= self._patience.refusals:
            return await self._bury(artifact, error)
        return await self._postpone(artifact, "REFUSED", error, uploaded=uploaded)

    async def _bury(self, artifact: StagedArtifact, error: JobError) -> str:
        state = await self._artifacts.bury(artifact.id, error, self._ending)
        log.error(
            "The asset cannot be stored; the artifact is kept", code=error.code, reason=error.message, state=state
        )
        return "buried"

    async def _postpone(self, artifact: StagedArtifact, kind: str, error: JobError, *, uploaded: bool) -> str:
        delay = round(backoff_seconds(artifact.write_attempt, BACKOFF_MIN_SECONDS, BACKOFF_MAX_SECONDS), 3)
        await self._artifacts.postpone(artifact.id, kind, delay, error, uploaded=uploaded)
        say = log.warning if error.error_class is ErrorClass.UNAVAILABLE_DEPENDENCY else log.error
        say("The asset cannot be stored now; retrying", code=error.code, reason=error.message, seconds=delay)
        return "postponed"


def _waits_for(error: Exception) -> JobError | None:
    """What passes by itself or when somebody mends the set-up, however often it is tried; None for all else."""
    if isinstance(error, StorageError):
        kind = ErrorClass.CONFIG if error.permanent else ErrorClass.UNAVAILABLE_DEPENDENCY
        return JobError(kind, f"STORAGE_{error.kind.value}", str(error))
    if isinstance(error, RowsLockedError):
        return JobError(
            ErrorClass.UNAVAILABLE_DEPENDENCY,
            "ROWS_LOCKED",
            "Another database session has locked a row of this job or its storyboard, so the asset cannot be linked",
        )
    if isinstance(error, StatementTimeoutError):
        return JobError(
            ErrorClass.UNAVAILABLE_DEPENDENCY, "LINK_TIMED_OUT", "The database took too long to link the asset"
        )
    state = refused_state(error)
    if state is not None and state.startswith(SETUP_CLASS):
        message = "The asset_writer cannot use the key-value table: check KV_TABLE and the rights on it"
        return JobError(ErrorClass.CONFIG, "KV_TABLE_UNUSABLE", f"{message} (SQLSTATE {state})")
    if isinstance(error, OSError):
        message = "The asset_writer cannot write its temporary file. Check its disk"
        return JobError(ErrorClass.UNAVAILABLE_DEPENDENCY, "WRITER_DISK_ERROR", message)
    return None


def _refusal(error: Exception) -> JobError:
    """What is refused for this artifact alone, such as by a trigger of the key-value table."""
    state = refused_state(error)
    if state is not None:
        log.warning("The database rejected a link to an asset", sqlstate=state, reason=str(error).partition("\n")[0])
        message = f"The database rejected the link to the asset (SQLSTATE {state}); check triggers of KV_TABLE"
        return JobError(ErrorClass.CONFIG, "LINK_REFUSED", message)
    log.error("The write failed unexpectedly", exc_info=error)
    return JobError(ErrorClass.TRANSIENT, "WRITE_FAILED", f"The asset could not be stored ({type(error).__name__})")
