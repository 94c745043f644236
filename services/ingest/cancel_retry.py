"""CancelJob and RetryJob: callers end their own jobs and start them again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc

from superstoryboard.domain.states import TERMINAL_STATES
from superstoryboard.jobs.records import job_message
from superstoryboard.jobs.steering import Refusal, Steering
from superstoryboard.jobs.store import JobStore
from superstoryboard.rpc.authentication import caller
from superstoryboard.rpc.errors import ApiError, not_found
from superstoryboard.rpc.permissions import Right, require
from superstoryboard.rpc.validation import check
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2

Context = grpc.aio.ServicerContext[Any, Any]

OPEN_JOBS_RETRY_SECONDS = 30
"""As for a new job beyond the quota: nobody knows when one ends."""
WORDS = {
    Refusal.SECOND_PAYMENT: "an earlier call may have been charged; another call needs accept_second_payment",
    Refusal.QUOTA_EXCEEDED: "its owner's quota of open jobs is used up; try again when one of them has ended",
    Refusal.NOT_YOURS: "is of a storyboard that who made the job may not write",
    Refusal.JOB_OPERATION_RUNNING: "has a charged operation that is still running; redrive it without an edit",
}


class CancelRetryCalls:
    """The part of GenerationService that changes jobs."""

    def __init__(self, store: JobStore, steering: Steering) -> None:
        self._store = store
        self._steering = steering

    async def CancelJob(self, request: api.CancelJobRequest, context: Context) -> api.CancelJobResponse:
        """Cancel a job that has not ended; one that is cancelled already is returned unchanged."""
        del context
        check(request)
        job_id = UUID(request.job_id)
        who = caller()
        before = await self._steering.cancel(job_id, owner=who.visible_owner, actor=who.done_by, names=who.identities)
        if before is None:
            raise not_found(f"job {job_id}")
        if before == Refusal.NOT_YOURS:
            raise refused(job_id, Refusal.NOT_YOURS, "")
        if before in TERMINAL_STATES - {"CANCELLED"}:
            raise refused(job_id, Refusal.JOB_STATE, f"has ended as {before} and cannot be cancelled")
        return api.CancelJobResponse(job=await self._job(job_id))

    async def RetryJob(self, request: api.RetryJobRequest, context: Context) -> api.RetryJobResponse:
        """Start a failed, dead-lettered or cancelled job again."""
        del context
        check(request)
        if request.accept_second_payment:
            require(caller(), Right.SECOND_PAYMENT)
        job_id = UUID(request.job_id)
        answer = await self._steering.retry(
            job_id,
            owner=caller().visible_owner,
            actor=caller().done_by,
            accept_second_payment=request.accept_second_payment,
            names=caller().identities,
            quota_scope=caller().quota_scope,
        )
        if isinstance(answer, Refusal):
            raise refused(
                job_id,
                answer,
                "has not ended, or has succeeded; only failed, dead-lettered and cancelled jobs can be retried",
            )
        return api.RetryJobResponse(job=await self._job(job_id))

    async def _job(self, job_id: UUID) -> job_pb2.Job:
        (row,) = await self._store.get([job_id], None)
        return job_message(row)


def refused(job_id: UUID, reason: Refusal, wrong_state: str) -> ApiError:
    """The status that says why a job was left as it is; `wrong_state` ends the sentence of JOB_STATE."""
    if reason is Refusal.NOT_FOUND:
        return not_found(f"job {job_id}")
    words = WORDS.get(reason, wrong_state)
    if reason is Refusal.QUOTA_EXCEEDED:
        return ApiError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "QUOTA_EXCEEDED",
            f"job {job_id}: {words}",
            retry_after_seconds=OPEN_JOBS_RETRY_SECONDS,
        )
    if reason is Refusal.NOT_YOURS:
        return ApiError(grpc.StatusCode.PERMISSION_DENIED, "NOT_YOURS", f"job {job_id}: {words}")
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, reason.value, f"job {job_id}: {words}")
