"""QueueService: what operators see and do; the same for Prometheus."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc

from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.domain.kinds import kind_number
from superstoryboard.jobs.lost_operations import LostOperations
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.storyboards import Storyboards
from superstoryboard.jobs.sweeps import Sweeper
from superstoryboard.rpc.authentication import caller
from superstoryboard.rpc.errors import not_found
from superstoryboard.rpc.tokens import Sees
from superstoryboard.rpc.validation import check
from superstoryboard.telemetry.queue_metrics import QueueMetrics, SweepMetrics
from superstoryboard.v1 import queue_service_pb2 as api
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceServicer

from .dead_letters import DeadLetterCalls
from .operations import OperationCalls
from .storyboards import TransferCalls
from .submissions import Submissions

GAUGE_SECONDS = 15.0
LONGEST_AGE_SECONDS = 10_000 * 366 * 24 * 3600
"""What a Duration can hold; messages whose time was set by hand may be older."""

Context = grpc.aio.ServicerContext[Any, Any]


class QueueService(DeadLetterCalls, OperationCalls, TransferCalls, QueueServiceServicer):
    """Queues, dead letters and sweeps."""

    def __init__(
        self,
        store: JobStore,
        steering: Steering,
        submissions: Submissions,
        *,
        operations: LostOperations,
        storyboards: Storyboards,
        sweeper: Sweeper,
        sweeps: SweepMetrics,
    ) -> None:
        DeadLetterCalls.__init__(self, store, steering, submissions)
        OperationCalls.__init__(self, store, operations)
        TransferCalls.__init__(self, storyboards)
        self._sweeper = sweeper
        self._sweeps = sweeps

    async def ListQueues(self, request: api.ListQueuesRequest, context: Context) -> api.ListQueuesResponse:
        """Every queue as it is now; to an outside worker, its own."""
        del request, context
        return api.ListQueuesResponse(queues=await self._queues())

    async def PauseQueue(self, request: api.PauseQueueRequest, context: Context) -> api.PauseQueueResponse:
        """Stop claiming from a queue."""
        del context
        check(request)
        return api.PauseQueueResponse(queue=await self._pause(request.queue, paused=True))

    async def ResumeQueue(self, request: api.ResumeQueueRequest, context: Context) -> api.ResumeQueueResponse:
        """Allow claiming from a queue."""
        del context
        check(request)
        return api.ResumeQueueResponse(queue=await self._pause(request.queue, paused=False))

    async def Sweep(self, request: api.SweepRequest, context: Context) -> api.SweepResponse:
        """Run the periodic maintenance once."""
        del request, context
        duties = await self._sweeper.sweep()
        self._sweeps.swept({duty.name: duty.changed for duty in duties}, [duty.name for duty in duties if duty.error])
        return api.SweepResponse(
            duties=[api.SweepDuty(name=duty.name, count=duty.changed, error=duty.error) for duty in duties]
        )

    async def _pause(self, name: str, *, paused: bool) -> api.Queue:
        if not await self._steering.pause(name, paused=paused, actor=caller().done_by):
            raise not_found(f"queue {name}")
        return next(queue for queue in await self._queues() if queue.name == name)

    async def _queues(self) -> list[api.Queue]:
        gates = [_gate(row) for row in await self._store.gates()]
        return [_queue(row, gates) for row in await self._store.queues() if _is_seen(row["name"])]


def _is_seen(queue: str) -> bool:
    who = caller()
    return who.sees is not Sees.OWN_QUEUES or queue in who.queues


async def keep_gauges(store: JobStore, metrics: QueueMetrics) -> None:
    """Show the queues to Prometheus as they are, until cancelled; nothing while the database is away."""
    while True:
        try:
            metrics.show(await store.queues())
        except DatabaseUnavailableError:
            metrics.forget()
        await asyncio.sleep(GAUGE_SECONDS)


def _queue(row: dict[str, Any], gates: list[api.Gate]) -> api.Queue:
    queue = api.Queue(
        name=row["name"],
        kind=kind_number(row["kind"]),
        depth=row["depth"],
        due=row["due"],
        in_flight=row["in_flight"],
        staged=row["staged"],
        dead_lettered=row["dead_lettered"],
        paused=row["paused"],
        gates=gates,
    )
    if row["oldest_age_seconds"] is not None:
        queue.oldest_age.FromTimedelta(timedelta(seconds=min(max(row["oldest_age_seconds"], 0), LONGEST_AGE_SECONDS)))
    return queue


def _gate(row: dict[str, Any]) -> api.Gate:
    gate = api.Gate(provider=row["provider"], model=row["model"], reason=row["reason"])
    gate.closed_until.FromDatetime(row["closed_until"])
    return gate
