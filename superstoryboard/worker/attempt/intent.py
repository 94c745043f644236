"""The step before a paid call: the intent is in the ledger, and the claim is checked once more right before sending."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict

from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.ledger import CallRefusal, Ledger, call_hash
from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.providers.routes import ROUTES
from superstoryboard.providers.source import SourceImage
from superstoryboard.worker.attempt.errors import DeadLetterError, GateClosedError, StaleClaimError
from superstoryboard.worker.attempt.generation import Generation
from superstoryboard.worker.attempt.paid_calls import to_the_end

MIN_LEASE_SECONDS = 1
REFUSALS = {
    CallRefusal.SECOND_PAYMENT: "An earlier call for this job was or may have been charged. No second call is sent.",
    CallRefusal.CALL_LIMIT_REACHED: "The number of calls that were or may have been charged has reached max_attempts.",
}


@dataclass(frozen=True)
class Intent:
    """A call that may be sent now: its ledger row, and where its answer holds the bytes their place in staging."""

    call_id: int
    staging_key: str


class Intents:
    """Opens ledger rows."""

    def __init__(self, work: WorkQueue, ledger: Ledger) -> None:
        self._work = work
        self._ledger = ledger

    async def open(
        self,
        job: ClaimedJob,
        generation: Generation,
        source: SourceImage | None,
        route: str,
        prepare: Callable[[int], Awaitable[None]] | None = None,
    ) -> Intent:
        """Commit the intent to call by a route; the call may be sent now. `prepare` is told its row before that.

        Raises:
            StaleClaimError: the job belongs to someone else, or its lease is about to end.
            GateClosedError: the model takes no more calls for some seconds.
            DeadLetterError: no further call may be paid for this job unless a person says so.
        """
        sha256 = hashlib.sha256(source.data).hexdigest() if source else ""
        opened = await self._ledger.open(
            job,
            route=route,
            shape=ROUTES[route].shape,
            model=generation.model,
            gate=self._work.gate,
            fingerprint=call_hash(route, generation.model, MessageToDict(generation), sha256),
            lease_seconds=MIN_LEASE_SECONDS,
        )
        if opened.refused is not None:
            raise DeadLetterError(JobError(ErrorClass.UNKNOWN_OUTCOME, opened.refused.value, REFUSALS[opened.refused]))
        if opened.call_id is None:
            raise GateClosedError(opened.wait_seconds) if opened.wait_seconds else StaleClaimError
        if not await self._may_send(job, opened.call_id, prepare):
            raise StaleClaimError
        return Intent(opened.call_id, opened.staging_key)

    async def _may_send(self, job: ClaimedJob, call_id: int, prepare: Callable[[int], Awaitable[None]] | None) -> bool:
        """Right before sending. A call that is not sent, whatever stands in the way, is settled as unpaid."""
        may = False
        try:
            if prepare is not None:
                await prepare(call_id)
            may = await self._work.holds_lease(job, MIN_LEASE_SECONDS)
        finally:
            if not may:
                await to_the_end(self._ledger.withdraw(call_id))
        return may
