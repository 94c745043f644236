"""The step before a paid call: the intent is in the ledger, and the claim is checked once more right before sending."""

from __future__ import annotations

import hashlib

from google.protobuf.json_format import MessageToDict

from superstoryboard.jobs.ledger import Ledger, call_hash
from superstoryboard.jobs.work import ClaimedJob, WorkQueue
from superstoryboard.providers.source import SourceImage
from superstoryboard.runtime.adoption import Generation
from superstoryboard.runtime.worker import GateClosedError, StaleClaimError

MIN_LEASE_SECONDS = 1


class Intents:
    """Opens ledger rows."""

    def __init__(self, work: WorkQueue, ledger: Ledger) -> None:
        self._work = work
        self._ledger = ledger

    async def open(self, job: ClaimedJob, generation: Generation, source: SourceImage | None, route: str) -> int:
        """Commit the intent to call by a route and answer its ledger row; the call may be sent now.

        Raises:
            StaleClaimError: the job belongs to someone else, its lease is about to end, or an earlier call of a video
                was perhaps paid.
            GateClosedError: the model takes no more calls for some seconds.
        """
        sha256 = hashlib.sha256(source.data).hexdigest() if source else ""
        opened = await self._ledger.open(
            job,
            route=route,
            model=generation.model,
            gate=self._work.gate,
            fingerprint=call_hash(route, generation.model, MessageToDict(generation), sha256),
            lease_seconds=MIN_LEASE_SECONDS,
        )
        if opened.call_id is None:
            raise GateClosedError(opened.wait_seconds) if opened.wait_seconds else StaleClaimError
        if not await self._work.holds_lease(job, MIN_LEASE_SECONDS):
            await self._ledger.withdraw(opened.call_id)
            raise StaleClaimError
        return opened.call_id
