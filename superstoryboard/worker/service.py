"""WorkerService: process messages now, and what the process does."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc

from superstoryboard.db.notify import Wakeups
from superstoryboard.domain.kinds import Kind
from superstoryboard.domain.media import Media
from superstoryboard.domain.states import TERMINAL_STATES
from superstoryboard.jobs.store import JobStore
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.validation import check
from superstoryboard.v1 import worker_service_pb2 as api
from superstoryboard.v1.worker_service_pb2_grpc import WorkerServiceServicer
from superstoryboard.worker.attempts import Attempt
from superstoryboard.worker.loop import Worker

LONGEST_SECONDS = 3600.0
ANSWER_RESERVE_SECONDS = 0.5
POLL_SECONDS = 0.5
DRAINING = "the worker is shutting down and claims no more messages"
STILL_RUNNING = "still running"
BUSY = "no message could be claimed in time: the worker is busy with other jobs, or waits for staging or the database"

Context = grpc.aio.ServicerContext[Any, Any]
Row = dict[str, Any]


class WorkerService(WorkerServiceServicer):
    """On each worker (SPEC A10)."""

    def __init__(self, worker: Worker, kind: Kind, store: JobStore, wakeups: Wakeups) -> None:
        self._worker = worker
        self._kind = kind
        self._store = store
        self._wakeups = wakeups

    async def ProcessQueue(self, request: api.ProcessQueueRequest, context: Context) -> api.ProcessQueueResponse:
        """Process up to N messages; returns when each has ended, at the latest at the deadline.

        Raises:
            ApiError: RESOURCE_EXHAUSTED, no message could be taken in time; UNAVAILABLE, the worker drains.
        """
        check(request)
        remaining = context.time_remaining()
        seconds = LONGEST_SECONDS if remaining is None else remaining
        deadline = time.monotonic() + max(0.0, seconds - ANSWER_RESERVE_SECONDS)
        quantity = request.max_messages or self._kind.batch
        attempts: list[Attempt] = []
        processing = asyncio.create_task(self._worker.process(quantity, force=True, on_start=attempts.append))
        try:
            await asyncio.wait({processing}, timeout=max(0.0, deadline - time.monotonic()))
        finally:  # whoever went away wants no more messages processed; what runs goes on
            if not processing.done():
                processing.cancel()
        if processing.done():
            processing.result()
        elif not attempts:
            raise ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, "WORKER_BUSY", BUSY)
        if not attempts and self._worker.draining.is_set():
            raise ApiError(grpc.StatusCode.UNAVAILABLE, "WORKER_DRAINING", DRAINING)
        rows = await self._settled(attempts, deadline)
        results = [_result(attempt, rows.get(attempt.job.id)) for attempt in attempts]
        return api.ProcessQueueResponse(
            message=_message(self._kind, len(results)), processed=len(results), results=results
        )

    async def GetStatus(self, request: api.GetStatusRequest, context: Context) -> api.GetStatusResponse:
        """The jobs in this process."""
        del request, context
        answer = api.GetStatusResponse(
            worker_id=self._worker.worker_id,
            queue=self._worker.queue,
            concurrency=self._worker.limits.concurrency,
            draining=self._worker.draining.is_set(),
            kind=self._kind.number,
        )
        for attempt in self._worker.running:
            running = answer.running.add(job_id=str(attempt.job.id), claim=attempt.job.claim)
            running.age.FromTimedelta(timedelta(seconds=time.monotonic() - attempt.started))
        return answer

    async def _settled(self, attempts: list[Attempt], deadline: float) -> dict[UUID, Row]:
        """The rows of the jobs once each that was staged is terminal, or as they are at the deadline."""
        while True:
            rows = {row["id"]: row for row in await self._store.get([attempt.job.id for attempt in attempts], None)}
            waiting = [row for row in rows.values() if row["state"] == "STAGED"]
            left = deadline - time.monotonic()
            if not waiting or left <= 0:
                return rows
            await self._wakeups.wait(min(POLL_SECONDS, left))


def _result(attempt: Attempt, row: Row | None) -> api.ProcessResult:
    result = api.ProcessResult(msg_id=attempt.job.msg_id, job_id=str(attempt.job.id))
    if row is None:
        result.error = "the job no longer exists"
        return result
    result.scene_id = row["scene_id"] or ""
    result.character_id = row["character_id"] or ""
    if row["state"] == "SUCCEEDED":
        result.success = True
        setattr(result, f"{Media.of(row['asset']['media_type'])}_url", row["asset"]["url"])
    else:
        result.error = _error(attempt, row)
    return result


def _error(attempt: Attempt, row: Row) -> str:
    if attempt.error is not None:
        return attempt.error.message
    if row["state"] in TERMINAL_STATES and row["error"]:
        return str(row["error"].get("message", row["state"]))
    if row["state"] == "CANCELLED":
        return ": ".join(filter(None, ["cancelled", ", ".join(row["warnings"])]))
    return attempt.given_back if row["state"] == "QUEUED" and attempt.given_back else STILL_RUNNING


def _message(kind: Kind, processed: int) -> str:
    if processed == 0:
        return "No messages in queue"
    return kind.processed.format(processed)
