"""QueueService: what operators see and do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc

from superstoryboard.jobs.records import kind_value
from superstoryboard.jobs.store import JobStore
from superstoryboard.v1 import queue_service_pb2 as api
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]


class QueueService(QueueServiceServicer):
    """Queues and sweeps. RPCs that are not here answer UNIMPLEMENTED from the generated base."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def ListQueues(self, request: api.ListQueuesRequest, context: Context) -> api.ListQueuesResponse:
        """Every queue as it is now."""
        del request, context
        gates = [_gate(row) for row in await self._store.gates()]
        return api.ListQueuesResponse(queues=[_queue(row, gates) for row in await self._store.queues()])

    async def Sweep(self, request: api.SweepRequest, context: Context) -> api.SweepResponse:
        """Run the periodic duties once."""
        del request, context
        duties = [api.SweepDuty(name=row["duty"], count=row["changed"]) for row in await self._store.sweep()]
        return api.SweepResponse(duties=duties)


def _queue(row: dict[str, Any], gates: list[api.Gate]) -> api.Queue:
    queue = api.Queue(
        name=row["name"],
        kind=kind_value(row["kind"]),
        depth=row["depth"],
        due=row["due"],
        in_flight=row["in_flight"],
        staged=row["staged"],
        dead_lettered=row["dead_lettered"],
        paused=row["paused"],
        gates=gates,
    )
    if row["oldest_age_seconds"] is not None:
        queue.oldest_age.FromTimedelta(timedelta(seconds=row["oldest_age_seconds"]))
    return queue


def _gate(row: dict[str, Any]) -> api.Gate:
    gate = api.Gate(provider=row["provider"], model=row["model"], reason=row["reason"])
    gate.closed_until.FromDatetime(row["closed_until"])
    return gate
