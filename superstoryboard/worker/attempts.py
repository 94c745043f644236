"""How attempts end: each failure becomes one transition of its job."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field

from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import WorkerMetrics
from superstoryboard.worker.attempt.errors import (
    DeadLetterError,
    GateClosedError,
    ReleasedError,
    StaleClaimError,
    WaitsError,
)
from superstoryboard.worker.leases import LeaseKeeper

BACKOFF_MAX_SECONDS = 600
CLOSED_MAX_SECONDS = 86_400.0
"""A provider that asks for a longer pause is asked again after a day."""

CLOSING = {ErrorClass.RATE_LIMITED: 30.0, ErrorClass.QUOTA_EXHAUSTED: 3600.0, ErrorClass.CONFIG: 60.0}
"""Classes that close the gate of a model for everyone, and for how many seconds where the provider does not say."""

STOPS = "released to the queue: the worker is shutting down"
GATE_CLOSED = "released to the queue: calls to the model are paused"

log = get_logger("worker")


@dataclass
class Attempt:
    """One job in this process and how its attempt ended: the job's state, or None for a claim that was lost.

    `given_back`: why the job went back to its queue, in words for who asked for it; empty where it did not.
    """

    job: ClaimedJob
    started: float = field(default_factory=time.monotonic)
    state: str | None = None
    error: JobError | None = None
    given_back: str = ""


class AttemptEndings:
    """Ends attempts of one worker that gave no result; `retry_delay_seconds` is the wait after the first."""

    def __init__(self, work: WorkQueue, leases: LeaseKeeper, metrics: WorkerMetrics, retry_delay_seconds: int) -> None:
        self._work = work
        self._leases = leases
        self._metrics = metrics
        self._retry_delay_seconds = retry_delay_seconds

    async def left(self, attempt: Attempt) -> None:
        """The attempt was cancelled: by a lost lease, where the release changes nothing, or at the end of the drain."""
        try:
            attempt.state = await self._release(attempt, 0, "Released: the worker stopped", "drained", STOPS)
        except DatabaseUnavailableError:
            attempt.state = None

    async def never_started(self, jobs: list[ClaimedJob]) -> None:
        """These were claimed, and whoever wanted them is gone, or the worker drains."""
        for job in jobs:
            try:
                if await self._work.release(job, 0, "Released: the worker did not start the job"):
                    self._metrics.released(job.kind, "not_started")
            except DatabaseUnavailableError:
                log.warning("A job could not be released; it becomes due again when its lease ends", job_id=str(job.id))

    async def _release(self, attempt: Attempt, seconds: int, message: str, reason: str, given_back: str) -> str | None:
        """The job goes back without an attempt spent. Returns its state, or None for a stale claim."""
        self._leases.forget(attempt.job)
        if not await self._work.release(attempt.job, seconds, message):
            return None
        self._metrics.released(attempt.job.kind, reason)
        attempt.given_back = given_back
        return "QUEUED"

    async def failed(self, attempt: Attempt, error: Exception) -> None:
        """Record how the attempt failed; where the database is away, the lease ends by itself.

        The job leaves the heartbeat first: what is ended on purpose would look like a lost lease.
        """
        self._leases.forget(attempt.job)
        try:
            attempt.state = await self._transition(attempt, error)
        except DatabaseUnavailableError:
            log.warning("The end of the attempt could not be recorded; the job becomes due again when its lease ends")

    async def _transition(self, attempt: Attempt, error: Exception) -> str | None:
        job = attempt.job
        if isinstance(error, StaleClaimError):
            log.warning("Claim is stale; the result is discarded")
            return None
        if isinstance(error, DatabaseUnavailableError):
            raise error
        if isinstance(error, ReleasedError):
            return await self._release(attempt, 0, "Released: the worker is shutting down", "drained", STOPS)
        if isinstance(error, GateClosedError):
            wait = math.ceil(error.wait_seconds)
            return await self._release(
                attempt, wait, "Waiting: calls to the model are paused", "gate_closed", GATE_CLOSED
            )
        if isinstance(error, WaitsError):
            attempt.error = error.error
            return await self._work.retry(job, error.delay_seconds, error.error, spend=False)
        attempt.error = _job_error(error)
        if isinstance(error, DeadLetterError):
            return await self._work.bury(job, attempt.error)
        asked = error.retry_after_seconds if isinstance(error, JobFailure) else None
        return await self._fail(job, attempt.error, asked)

    async def _fail(self, job: ClaimedJob, error: JobError, asked_seconds: float | None) -> str | None:
        """What follows from each class of error (decision 0015)."""
        if error.error_class.final:
            return await self._work.fail(job, error)
        if error.error_class in CLOSING:
            wait = min(CLOSED_MAX_SECONDS, asked_seconds or CLOSING[error.error_class])
            if error.error_class is not ErrorClass.RATE_LIMITED:
                log.error("Calls to the model are paused", code=error.code, seconds=round(wait))
            await self._work.close_gate(await self._work.model_of(job), wait, error.code)
            self._metrics.gate_closed(job.kind, error.error_class)
            return await self._work.retry(job, math.ceil(wait), error, spend=False)
        delay = math.ceil(backoff_seconds(job.attempt, self._retry_delay_seconds, BACKOFF_MAX_SECONDS, kept_share=0.0))
        spend = error.error_class is not ErrorClass.UNAVAILABLE_DEPENDENCY
        return await self._work.retry(job, delay, error, spend=spend)


def _job_error(error: Exception) -> JobError:
    if isinstance(error, JobFailure):
        return error.error
    log.error("Attempt failed unexpectedly", exc_info=error)
    if isinstance(error, OSError):
        # A full disk, no temporary folder, no more open files: of this worker, and not of the job.
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        message = f"The worker's operating system reported an error ({reason}). The job waits."
        return JobError(ErrorClass.UNAVAILABLE_DEPENDENCY, "WORKER_SYSTEM_ERROR", message)
    return JobError(ErrorClass.TRANSIENT, "INTERNAL", "The worker failed unexpectedly. See the worker's log")
