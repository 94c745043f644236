"""Looks for operations whose names were lost between the provider and the ledger. Nothing of this is paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.lost_operations import LostOperations
from superstoryboard.jobs.queue import ClaimedJob, LostCall, Operation
from superstoryboard.providers.routes import ListedOperation, OperationRoute
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import LostNameMetrics
from superstoryboard.v1.job_pb2 import VideoGeneration
from superstoryboard.worker.attempt.errors import StillRunningError
from superstoryboard.worker.routes import Routes

WEBHOOK_SECONDS = 1200.0
"""Google tells the name at the end of an operation, minutes after the submit."""
LOOKS = 15
LONGEST_GAP_SECONDS = 60.0
NEAR = timedelta(seconds=60)

log = get_logger("search")


def mark_of(job_id: UUID, call_id: int) -> Mapping[str, str]:
    """What a submit carries of its ledger row where it can; with the job's id, as ids of calls repeat elsewhere."""
    return {"call": str(call_id), "job": str(job_id)}


class OperationSearch:
    """The search for the operations of calls without an answer."""

    def __init__(
        self,
        operations: LostOperations,
        ledger: Ledger,
        routes: Routes[OperationRoute],
        metrics: LostNameMetrics,
        search_seconds: float,
    ) -> None:
        self._operations = operations
        self._ledger = ledger
        self._routes = routes
        self._metrics = metrics
        self._search_seconds = search_seconds

    def seconds(self, route: str) -> float:
        """For how long the name of a submit of this route may still turn up; 0 where nothing can bring it."""
        provider = self._routes.provider(route)
        listed = self._search_seconds if provider.lists else 0.0
        return max(listed, WEBHOOK_SECONDS) if provider.tells else listed

    def submits(self, route: str) -> Submits:
        """The ledger for a submit by this route."""
        return Submits(self._ledger, self._operations, self._metrics, route, self.seconds(route))

    async def recover(self, job: ClaimedJob, lost: LostCall, generation: VideoGeneration) -> Operation:
        """The operation of a lost call, which is polled from now on.

        Raises:
            StillRunningError: it was not found now; the job comes back. After the last time it is a dead letter.
        """
        provider = self._routes.provider(lost.route)
        name = await self._name(job, lost, generation, provider)
        if name is None or not await self._kept(lost, name):
            raise await self._later(lost)
        log.info("A lost operation was found", call_id=lost.call_id, operation=name)
        self._metrics.ended(lost.route, found=True)
        return Operation(lost.call_id, lost.route, lost.model, name, lost.age_seconds)

    async def _kept(self, lost: LostCall, name: str) -> bool:
        """False where the operation became another call's since it was seen free: its video is not this job's."""
        kept = await self._ledger.accept(lost.call_id, name)
        if not kept:
            log.warning("An operation that was found belongs to another call by now", call_id=lost.call_id)
        return kept

    async def _later(self, lost: LostCall) -> StillRunningError:
        """The job looks again later, or it never will, and its next claim buries it."""
        seconds = self.seconds(lost.route)
        if seconds == 0:
            # The provider lists nothing after all, and tells nothing: there is nothing to wait for.
            await self._operations.end_search(lost.call_id)
        if seconds == 0 or lost.left_seconds <= 0:
            self._metrics.ended(lost.route, found=False)
            return _again(0.0)
        return _again(seconds)

    async def _name(
        self, job: ClaimedJob, lost: LostCall, generation: VideoGeneration, provider: OperationRoute
    ) -> str | None:
        try:
            listed = await provider.recent(lost.model)
        except ProviderFailure as failure:
            log.warning("The provider's operations could not be listed", code=failure.error.code)
            return None
        if not listed:
            return None
        unclaimed = await self._operations.unclaimed(lost.call_id, [each.name for each in listed])
        free = [each for each in listed if each.name in unclaimed.names]
        return match(free, mark_of(job.id, lost.call_id), lost, generation, alone=unclaimed.alone)


@dataclass(frozen=True)
class Submits:
    """The ledger as one submit sees it: a call without an answer stays an intent for the `seconds` of its search."""

    ledger: Ledger
    operations: LostOperations
    metrics: LostNameMetrics
    route: str
    seconds: float

    async def expect(self, call_id: int) -> None:
        """Before the submit: have its name looked for where it gets lost and that is of use."""
        if self.seconds > 0:
            await self.operations.search_for(call_id, self.seconds)

    async def settle(self, call_id: int, failure: ProviderFailure) -> None:
        """As `Ledger.settle`.

        Raises:
            StillRunningError: the operation is looked for; the job comes back.
        """
        if failure.outcome is CallOutcome.UNKNOWN and self.seconds > 0:
            await self.operations.note(call_id, failure)
            raise _again(self.seconds)
        if failure.outcome is CallOutcome.UNKNOWN:
            self.metrics.ended(self.route, found=False)
        await self.ledger.settle(call_id, failure)


def _again(seconds: float) -> StillRunningError:
    sentence = "The video may have been charged. The submit got no response; searching for the operation"
    error = JobError(ErrorClass.UNKNOWN_OUTCOME, "OPERATION_LOOKUP_PENDING", sentence)
    return StillRunningError(error, max(1, int(min(seconds / LOOKS, LONGEST_GAP_SECONDS))))


def match(
    listed: Sequence[ListedOperation],
    mark: Mapping[str, str],
    lost: LostCall,
    generation: VideoGeneration,
    *,
    alone: bool,
) -> str | None:
    """The name of the operation that a call began: that with its mark, else the only one that is like it in everything.

    `alone`: no other call could have begun what is like this one. None where it is not certain.
    """
    marked = [each for each in listed if each.mark == mark]
    if marked:
        return marked[0].name if len(marked) == 1 else None
    alike = [each for each in listed if not each.mark and _alike(each, lost, generation)]
    return alike[0].name if alone and len(alike) == 1 else None


def _alike(listed: ListedOperation, lost: LostCall, generation: VideoGeneration) -> bool:
    if listed.created_at is None or abs(listed.created_at - lost.sent_at) > NEAR:
        return False
    asked = (generation.prompt, generation.aspect_ratio, int(generation.duration_seconds), generation.resolution)
    return asked == (listed.prompt, listed.aspect_ratio, listed.duration_seconds, listed.resolution)
