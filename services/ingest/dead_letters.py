"""Dead letters and pauses: the part of QueueService by which people decide."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc

from superstoryboard.domain.kinds import Kind, kind_of_message
from superstoryboard.jobs.records import job_message
from superstoryboard.jobs.steering import Refused, Steering
from superstoryboard.jobs.store import FrozenGeneration, JobStore
from superstoryboard.rpc.authentication import caller
from superstoryboard.rpc.errors import invalid, not_found
from superstoryboard.rpc.validation import check
from superstoryboard.v1 import job_pb2
from superstoryboard.v1 import queue_service_pb2 as api

from .cancel_retry import refused
from .pages import DEFAULT_PAGE, Cursor, Row, read_page
from .submissions import Submissions

MAX_JOBS = 1000

Context = grpc.aio.ServicerContext[Any, Any]


class DeadLetterCalls:
    """Lists, redrives and discards dead letters."""

    def __init__(self, store: JobStore, steering: Steering, submissions: Submissions) -> None:
        self._store = store
        self._steering = steering
        self._submissions = submissions

    async def ListDeadLetters(
        self, request: api.ListDeadLettersRequest, context: Context
    ) -> api.ListDeadLettersResponse:
        """One page of dead letters, newest first."""
        del context
        check(request)
        if request.queue and request.queue not in {row["name"] for row in await self._store.queues()}:
            raise not_found(f"queue {request.queue}")
        job_ids = [UUID(job_id) for job_id in request.job_ids]

        async def read(limit: int, before: Cursor | None) -> list[Row]:
            return await self._steering.dead_letters(request.queue, job_ids=job_ids, limit=limit, before=before)

        size = request.page_size or DEFAULT_PAGE
        letters, token = await read_page(read, _dead_letter, size=size, token=request.page_token)
        return api.ListDeadLettersResponse(dead_letters=letters, next_page_token=token)

    async def RedriveDeadLetters(
        self, request: api.RedriveDeadLettersRequest, context: Context
    ) -> api.RedriveDeadLettersResponse:
        """Start dead letters again, all or none."""
        del context
        field = request.WhichOneof("generation")
        kind = kind_of_message(getattr(request, field)) if field else None
        edit = self._edit(request, kind) if kind else None
        job_ids = _job_ids(request.job_ids)
        await self._same_kind(job_ids, kind)
        refusal = await self._steering.redrive(
            job_ids, actor=caller().done_by, accept_second_payment=request.accept_second_payment, edit=edit
        )
        return api.RedriveDeadLettersResponse(jobs=await self._jobs(job_ids, refusal))

    async def DiscardDeadLetters(
        self, request: api.DiscardDeadLettersRequest, context: Context
    ) -> api.DiscardDeadLettersResponse:
        """Give dead letters up, all or none; what was given up before counts as done."""
        del context
        job_ids = _job_ids(request.job_ids)
        refusal = await self._steering.discard(job_ids, actor=caller().done_by)
        return api.DiscardDeadLettersResponse(jobs=await self._jobs(job_ids, refusal))

    def _edit(self, request: api.RedriveDeadLettersRequest, kind: Kind) -> FrozenGeneration:
        return self._submissions.freeze(kind.name, getattr(request, kind.field))

    async def _same_kind(self, job_ids: list[UUID], kind: Kind | None) -> None:
        """An edit is of one kind, and so must be the jobs."""
        if kind is None:
            return
        for row in await self._store.get(job_ids, None):
            if row["kind"] != kind.name:
                raise invalid(
                    [(kind.field, f"cannot replace the request of job {row['id']}: its kind is {row['kind']}")]
                )

    async def _jobs(self, job_ids: list[UUID], refusal: Refused | None) -> list[job_pb2.Job]:
        if refusal is not None:
            raise refused(refusal.job_id, refusal.reason, "is not a dead letter")
        return [job_message(row) for row in await self._store.get(job_ids, None)]


def _job_ids(texts: Any) -> list[UUID]:
    if not 1 <= len(texts) <= MAX_JOBS:
        raise invalid([("job_ids", f"must contain 1 to {MAX_JOBS} ids, contains {len(texts)}")])
    job_ids: list[UUID] = []
    wrong: list[tuple[str, str]] = []
    for index, text in enumerate(texts):
        try:
            job_ids.append(UUID(text))
        except ValueError:
            wrong.append((f"job_ids[{index}]", "must be a UUID"))
    if wrong:
        raise invalid(wrong)
    return job_ids


def _dead_letter(row: dict[str, Any]) -> api.DeadLetter:
    return api.DeadLetter(
        job=job_message(row), provider_calls=row["provider_calls"], unknown_outcomes=row["unknown_outcomes"]
    )
