"""Asks for a running operation until it is done, and fetches its video. Nothing of this is paid for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import ClaimedJob, Operation, WorkQueue
from superstoryboard.providers.routes import OperationDone, OperationRoute
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import CallMetrics
from superstoryboard.worker.attempt.errors import ReleasedError, StaleClaimError, StillRunningError

TIMED_OUT = "Video generation timed out after 6 minutes"
"""SPEC A5, to the letter."""
LATE_POLL_MAX_SECONDS = 3600
GONE_ANSWERS = 3
STARTED_PERCENT, MADE_PERCENT = 15, 85
"""Progress of a job as its operation is accepted, and when the operation has run for the model's usual time."""
REPORT_STEP_PERCENT = 5
"""Progress is written when it has moved so far: a thousand jobs that wrote at each poll would busy the database."""

log = get_logger("polling")


@dataclass(frozen=True)
class Times:
    """Times in seconds, and the largest video in bytes.

    `timeout_seconds` ends an attempt, `gone_seconds` is for how long the provider must say that a video is lost.
    """

    poll_seconds: float
    timeout_seconds: float
    max_bytes: int
    gone_seconds: float


class Doubt:
    """Whether to believe that something paid for is lost: only where it is said several times, over long enough."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._answers = 0

    @property
    def open(self) -> bool:
        """True while the last word was a loss that is not believed yet."""
        return self._since is not None

    def confirms(self, failure: ProviderFailure) -> bool:
        """Count one more word of the provider; True where its end is to be believed. Others than a loss are at once."""
        if failure.error.error_class is not ErrorClass.UNKNOWN_OUTCOME:
            return True
        now = time.monotonic()
        if self._since is None:
            self._since = now
            log.warning("The provider reports that a video does not exist; asking again", code=failure.error.code)
        self._answers += 1
        return self._answers >= GONE_ANSWERS and now - self._since >= self._seconds

    def clear(self) -> None:
        """The provider said something better."""
        self._since, self._answers = None, 0


class Poller:
    """Polls and downloads operations that were accepted."""

    def __init__(
        self,
        work: WorkQueue,
        ledger: Ledger,
        metrics: CallMetrics,
        times: Times,
        draining: asyncio.Event,
        *,
        usual_seconds: Callable[[str], int],
    ) -> None:
        self._work = work
        self._ledger = ledger
        self._metrics = metrics
        self._times = times
        self._usual_seconds = usual_seconds
        self._draining = draining

    async def done(self, job: ClaimedJob, operation: Operation, provider: OperationRoute) -> OperationDone:
        """Poll until the video can be downloaded.

        Raises:
            ProviderFailure: the operation ended without a video, or it is lost.
            StaleClaimError: the job belongs to someone else by now.
            ReleasedError: the worker drains.
            StillRunningError: the operation goes on beyond the time of an attempt.
        """
        accepted = time.monotonic() - operation.age_seconds
        doubt = Doubt(self._times.gone_seconds)
        usual_seconds = self._usual_seconds(operation.model) or self._times.timeout_seconds
        reported = await self._report(job, percent_at(operation.age_seconds, usual_seconds))
        while True:
            status = await self._ask(operation, provider, doubt)
            age = time.monotonic() - accepted
            if isinstance(status, OperationDone):
                self._metrics.operation_done(operation.model, age)
                return status
            if age >= self._times.timeout_seconds and not doubt.open:
                raise self._timed_out(age)
            percent = percent_at(age, usual_seconds)
            if percent >= reported + REPORT_STEP_PERCENT:
                reported = await self._report(job, percent)
            await self._wait()

    async def download(self, operation: Operation, provider: OperationRoute, done: OperationDone, file: Path) -> None:
        """Fetch the video. A failure leaves the operation ACCEPTED, to be fetched again unpaid; unless it is lost.

        Raises:
            ProviderFailure: the video could not be downloaded.
            ReleasedError: the worker drains.
        """
        doubt = Doubt(self._times.gone_seconds)
        while True:
            try:
                await provider.download(done.location, file, self._times.max_bytes)
            except ProviderFailure as failure:
                if doubt.confirms(failure):
                    # A fault in between is no word of a loss: what was not confirmed is fetched again.
                    if failure.error.error_class.final or failure.error.error_class is ErrorClass.UNKNOWN_OUTCOME:
                        await self._ledger.settle(operation.call_id, failure)
                    raise
            else:
                return
            await self._wait()

    async def _report(self, job: ClaimedJob, percent: int) -> int:
        """Tell watchers how far the video is. Returns what the job has, which another worker may have brought further.

        Raises:
            StaleClaimError: the job belongs to someone else by now.
        """
        progress = await self._work.report(job, percent, "Generating video")
        if progress is None:
            raise StaleClaimError
        return progress

    async def _ask(self, operation: Operation, provider: OperationRoute, doubt: Doubt) -> object:
        """What one poll says; None where it says nothing, or a loss that is not believed yet."""
        try:
            status = await provider.poll(operation.name)
        except ProviderFailure as failure:
            if failure.outcome is CallOutcome.UNKNOWN or not doubt.confirms(failure):
                return None
            await self._ledger.settle(operation.call_id, failure)
            raise
        doubt.clear()
        return status

    def _timed_out(self, age_seconds: float) -> StillRunningError:
        error = JobError(ErrorClass.TRANSIENT, "VIDEO_TIMED_OUT", TIMED_OUT)
        gap = max(self._times.poll_seconds, age_seconds / 4)
        return StillRunningError(error, int(min(gap, LATE_POLL_MAX_SECONDS)) or 1)

    async def _wait(self) -> None:
        """Until the next poll; jittered, so that operations of one moment are not polled in step."""
        try:
            async with asyncio.timeout(self._times.poll_seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                await self._draining.wait()
        except TimeoutError:
            return
        raise ReleasedError


def percent_at(age_seconds: float, usual_seconds: float) -> int:
    """Progress of a job whose operation is of this age: by the share of the usual time, and no more after that."""
    share = min(1.0, age_seconds / usual_seconds)
    return STARTED_PERCENT + int((MADE_PERCENT - STARTED_PERCENT) * share)
