"""How an attempt ends without a result, besides the failures of jobs and providers."""

from __future__ import annotations

from superstoryboard.domain.errors import JobError, JobFailure


class StaleClaimError(Exception):
    """The job belongs to someone else by now: whatever is in hand is discarded."""


class ReleasedError(Exception):
    """The worker drains: the job goes back without an attempt spent."""


class GateClosedError(Exception):
    """The model takes no more calls for so many seconds: the job goes back without an attempt spent."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(f"the gate is closed for {wait_seconds:.0f} s")
        self.wait_seconds = wait_seconds


class WaitsError(Exception):
    """The job waits for something that is not its own; it is claimed again after the delay, with no attempt spent."""

    def __init__(self, error: JobError, delay_seconds: int) -> None:
        super().__init__(error.message)
        self.error = error
        self.delay_seconds = delay_seconds


class StillRunningError(WaitsError):
    """The provider's operation goes on beyond the attempt; it is polled again later."""


class DeadLetterError(JobFailure):
    """The job cannot go on unless a person decides so."""
