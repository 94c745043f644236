"""Calls to QueueService, which need the role service_role."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from storyboard.api.client import BATCH_SECONDS, CALL_SECONDS, PAGE_SIZE, Metadata, caller_metadata, connect
from storyboard.api.rpc_errors import spoken_errors
from storyboard.api.settings import Endpoint, ingest_endpoint
from superstoryboard.v1 import queue_service_pb2 as api
from superstoryboard.v1.job_pb2 import Job
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub


@dataclass(frozen=True)
class Queues:
    """QueueService. Every method raises CommandError where the call fails."""

    endpoint: Endpoint
    stub: QueueServiceStub
    metadata: Metadata

    def queues(self) -> list[api.Queue]:
        with spoken_errors(self.endpoint):
            answer = self.stub.ListQueues(api.ListQueuesRequest(), timeout=CALL_SECONDS, metadata=self.metadata)
        return list(answer.queues)

    def pause(self, queue: str) -> api.Queue:
        request = api.PauseQueueRequest(queue=queue)
        with spoken_errors(self.endpoint):
            return self.stub.PauseQueue(request, timeout=CALL_SECONDS, metadata=self.metadata).queue

    def resume(self, queue: str) -> api.Queue:
        request = api.ResumeQueueRequest(queue=queue)
        with spoken_errors(self.endpoint):
            return self.stub.ResumeQueue(request, timeout=CALL_SECONDS, metadata=self.metadata).queue

    def dead_letters(self, queue: str = "", job_ids: Sequence[str] = ()) -> Iterator[api.DeadLetter]:
        """Dead letters, newest first, page by page as they are read; no queue and no ids mean all."""
        request = api.ListDeadLettersRequest(queue=queue, job_ids=job_ids, page_size=PAGE_SIZE)
        while True:
            with spoken_errors(self.endpoint):
                page = self.stub.ListDeadLetters(request, timeout=CALL_SECONDS, metadata=self.metadata)
            yield from page.dead_letters
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def redrive(self, request: api.RedriveDeadLettersRequest) -> list[Job]:
        with spoken_errors(self.endpoint):
            answer = self.stub.RedriveDeadLetters(request, timeout=BATCH_SECONDS, metadata=self.metadata)
        return list(answer.jobs)

    def discard(self, job_ids: list[str]) -> list[Job]:
        request = api.DiscardDeadLettersRequest(job_ids=job_ids)
        with spoken_errors(self.endpoint):
            answer = self.stub.DiscardDeadLetters(request, timeout=BATCH_SECONDS, metadata=self.metadata)
        return list(answer.jobs)

    def record_operation(self, job_id: str, operation_name: str) -> Job:
        request = api.RecordOperationRequest(job_id=job_id, operation_name=operation_name)
        with spoken_errors(self.endpoint):
            return self.stub.RecordOperation(request, timeout=CALL_SECONDS, metadata=self.metadata).job


@contextmanager
def connect_queues() -> Iterator[Queues]:
    """QueueService of the ingest service of INGEST_ADDRESS."""
    endpoint = ingest_endpoint()
    with connect(endpoint) as channel:
        yield Queues(endpoint, QueueServiceStub(channel), caller_metadata())
