"""Names of operations that people find in a log or a console: the part of QueueService that records them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc

from superstoryboard.jobs.lost_operations import LostOperations, Recorded
from superstoryboard.jobs.records import job_message
from superstoryboard.jobs.store import JobStore
from superstoryboard.providers.operation_names import name_problem
from superstoryboard.rpc.authentication import caller
from superstoryboard.rpc.errors import ApiError, invalid, not_found
from superstoryboard.rpc.validation import check
from superstoryboard.v1 import queue_service_pb2 as api

PROBLEMS = {
    Recorded.NO_OPEN_CALL: "has no call that needs an operation name",
    Recorded.OPERATION_NAME_IN_USE: "is unchanged: another call has this operation name",
}

Context = grpc.aio.ServicerContext[Any, Any]


class OperationCalls:
    """Records operations."""

    def __init__(self, store: JobStore, operations: LostOperations) -> None:
        self._jobs_by_id = store
        self._operations = operations

    async def RecordOperation(
        self, request: api.RecordOperationRequest, context: Context
    ) -> api.RecordOperationResponse:
        """Enter the name of an operation whose call has none; its job polls on."""
        del context
        check(request)
        job_id = UUID(request.job_id)
        if not await self._jobs_by_id.get([job_id], None):
            raise not_found(f"job {job_id}")
        call = await self._operations.open_call(job_id, request.operation_name)
        if call is None:
            raise _refused(job_id, Recorded.NO_OPEN_CALL)
        problem = name_problem(call.route, call.model, request.operation_name)
        if problem is not None:
            raise invalid([("operation_name", problem)])
        recorded = await self._operations.record(job_id, call.call_id, request.operation_name, actor=caller().done_by)
        if recorded is not Recorded.RECORDED:
            raise _refused(job_id, recorded)
        (row,) = await self._jobs_by_id.get([job_id], None)
        return api.RecordOperationResponse(job=job_message(row))


def _refused(job_id: UUID, reason: Recorded) -> ApiError:
    if reason is Recorded.NOT_FOUND:
        return not_found(f"job {job_id}")
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, reason.value, f"job {job_id} {PROBLEMS[reason]}")
