"""A scripted ingest and worker over real gRPC, on a free port."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn
from uuid import UUID

import grpc
from grpc_status import rpc_status

from superstoryboard.rpc.errors import ApiError, invalid, not_found
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2 as queue
from superstoryboard.v1 import token_service_pb2 as token
from superstoryboard.v1 import worker_service_pb2 as worker
from superstoryboard.v1.generation_service_pb2_grpc import (
    GenerationServiceServicer,
    add_GenerationServiceServicer_to_server,
)
from superstoryboard.v1.job_pb2 import (
    Asset,
    ErrorClass,
    ImageGeneration,
    Job,
    JobError,
    JobEvent,
    JobState,
    VideoGeneration,
)
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceServicer, add_QueueServiceServicer_to_server
from superstoryboard.v1.token_service_pb2_grpc import TokenServiceServicer, add_TokenServiceServicer_to_server
from superstoryboard.v1.worker_service_pb2_grpc import WorkerServiceServicer, add_WorkerServiceServicer_to_server
from tests.unit.cli_script import Script

SUCCEEDED = JobState.JOB_STATE_SUCCEEDED
FAILED, BURIED, CANCELLED = JobState.JOB_STATE_FAILED, JobState.JOB_STATE_DEAD_LETTERED, JobState.JOB_STATE_CANCELLED
ENDINGS = {"fail": FAILED, "bury": BURIED, "cancel": CANCELLED}
HOLD_SECONDS = 30.0
MADE_TOKEN = "sst_" + "ab" * 32
Context = Any


def note(script: Script, request: Any, context: Context) -> None:
    """Keep what was asked; end the call where the script says so."""
    script.requests.append(request)
    script.metadata.append(dict(context.invocation_metadata()))
    if script.error is not None and len(script.requests) > script.good_calls:
        _abort(context, script.error)


def job_id(number: int) -> str:
    """A UUID that is easy to read in a failure."""
    return str(UUID(int=number))


class ScriptedQueues(QueueServiceServicer):
    """Queues and dead letters: every job that was buried is one."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def ListQueues(self, request: queue.ListQueuesRequest, context: Context) -> queue.ListQueuesResponse:
        self._note(request, context)
        return queue.ListQueuesResponse(queues=self.script.queues.values())

    def PauseQueue(self, request: queue.PauseQueueRequest, context: Context) -> queue.PauseQueueResponse:
        self._note(request, context)
        self.script.queues[request.queue].paused = True
        return queue.PauseQueueResponse(queue=self.script.queues[request.queue])

    def ResumeQueue(self, request: queue.ResumeQueueRequest, context: Context) -> queue.ResumeQueueResponse:
        self._note(request, context)
        self.script.queues[request.queue].paused = False
        return queue.ResumeQueueResponse(queue=self.script.queues[request.queue])

    def ListDeadLetters(self, request: queue.ListDeadLettersRequest, context: Context) -> queue.ListDeadLettersResponse:
        self._note(request, context)
        buried = [
            job
            for job in self.script.jobs.values()
            if job.state == JobState.JOB_STATE_DEAD_LETTERED and (not request.job_ids or job.id in request.job_ids)
        ]
        letters = [queue.DeadLetter(job=job, provider_calls=2, unknown_outcomes=1) for job in buried]
        start = int(request.page_token or 0)
        end = start + request.page_size
        return queue.ListDeadLettersResponse(
            dead_letters=letters[start:end], next_page_token=str(end) if end < len(letters) else ""
        )

    def RecordOperation(self, request: queue.RecordOperationRequest, context: Context) -> queue.RecordOperationResponse:
        self._note(request, context)
        return queue.RecordOperationResponse(job=self._move(request.job_id, JobState.JOB_STATE_RUNNING, context))

    def Sweep(self, request: queue.SweepRequest, context: Context) -> queue.SweepResponse:
        self._note(request, context)
        return self.script.swept

    def RedriveDeadLetters(
        self, request: queue.RedriveDeadLettersRequest, context: Context
    ) -> queue.RedriveDeadLettersResponse:
        self._note(request, context)
        jobs = [self._move(each, JobState.JOB_STATE_QUEUED, context) for each in request.job_ids]
        return queue.RedriveDeadLettersResponse(jobs=jobs)

    def DiscardDeadLetters(
        self, request: queue.DiscardDeadLettersRequest, context: Context
    ) -> queue.DiscardDeadLettersResponse:
        self._note(request, context)
        jobs = [self._move(each, JobState.JOB_STATE_CANCELLED, context) for each in request.job_ids]
        return queue.DiscardDeadLettersResponse(jobs=jobs)

    def _move(self, id_of_job: str, state: JobState, context: Context) -> Job:
        """A job that succeeded cannot be moved."""
        job = self.script.jobs.get(id_of_job)
        if job is None:
            _abort(context, not_found(f"job {id_of_job}"))
        if job.state == SUCCEEDED:
            _abort(context, ApiError(grpc.StatusCode.FAILED_PRECONDITION, "JOB_STATE", f"job {id_of_job}: has ended"))
        job.state = state
        return job

    def _note(self, request: Any, context: Context) -> None:
        note(self.script, request, context)


class ScriptedTokens(TokenServiceServicer):
    """Service tokens, all of which are the same text."""

    script: Script

    def CreateServiceToken(
        self, request: token.CreateServiceTokenRequest, context: Context
    ) -> token.CreateServiceTokenResponse:
        note(self.script, request, context)
        made = token.ServiceToken(name=request.name, role=request.role, owner=request.owner, queues=request.queues)
        self.script.tokens.append(made)
        return token.CreateServiceTokenResponse(service_token=made, token=MADE_TOKEN)

    def ListServiceTokens(
        self, request: token.ListServiceTokensRequest, context: Context
    ) -> token.ListServiceTokensResponse:
        note(self.script, request, context)
        return token.ListServiceTokensResponse(service_tokens=self.script.tokens)

    def RevokeServiceToken(
        self, request: token.RevokeServiceTokenRequest, context: Context
    ) -> token.RevokeServiceTokenResponse:
        note(self.script, request, context)
        for each in self.script.tokens:
            if each.name == request.name:
                each.revoke_time.FromJsonString("2026-01-01T00:00:00Z")
        return token.RevokeServiceTokenResponse()


class Scripted(ScriptedQueues, ScriptedTokens, GenerationServiceServicer, WorkerServiceServicer):
    """All services on one port. A job ends as soon as it is accepted; its three events are kept for watchers."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        script.hold.set()

    def CreateImageJob(self, request: api.CreateImageJobRequest, context: Context) -> api.CreateImageJobResponse:
        self._note(request, context)
        return api.CreateImageJobResponse(job=self._accept(request.image))

    def CreateVideoJob(self, request: api.CreateVideoJobRequest, context: Context) -> api.CreateVideoJobResponse:
        self._note(request, context)
        return api.CreateVideoJobResponse(job=self._accept(request.video))

    def BatchCreateJobs(self, request: api.BatchCreateJobsRequest, context: Context) -> api.BatchCreateJobsResponse:
        self._note(request, context)
        return api.BatchCreateJobsResponse(results=[self._item(item) for item in request.items])

    def GetJob(self, request: api.GetJobRequest, context: Context) -> api.GetJobResponse:
        self._note(request, context)
        if request.job_id not in self.script.jobs:
            _abort(context, not_found(f"job {request.job_id}"))
        return api.GetJobResponse(job=self.script.jobs[request.job_id])

    def ListJobs(self, request: api.ListJobsRequest, context: Context) -> api.ListJobsResponse:
        self._note(request, context)
        jobs = [job for job in self.script.jobs.values() if not request.states or job.state in request.states]
        start = int(request.page_token or 0)
        end = start + request.page_size
        return api.ListJobsResponse(jobs=jobs[start:end], next_page_token=str(end) if end < len(jobs) else "")

    def WatchJobs(self, request: api.WatchJobsRequest, context: Context) -> Iterator[api.WatchJobsResponse]:
        self._note(request, context)
        if self.script.fruitless:
            self.script.fruitless -= 1
            _abort(context, ApiError(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "going away"))
        for event in self.script.events:
            if event.sequence <= request.after_sequence:
                continue
            yield api.WatchJobsResponse(event=event)
            assert self.script.hold.wait(timeout=HOLD_SECONDS)
            if self.script.breaks:
                self.script.breaks -= 1
                _abort(context, ApiError(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "going away"))

    def CancelJob(self, request: api.CancelJobRequest, context: Context) -> api.CancelJobResponse:
        self._note(request, context)
        return api.CancelJobResponse(job=self._move(request.job_id, JobState.JOB_STATE_CANCELLED, context))

    def RetryJob(self, request: api.RetryJobRequest, context: Context) -> api.RetryJobResponse:
        self._note(request, context)
        return api.RetryJobResponse(job=self._move(request.job_id, JobState.JOB_STATE_QUEUED, context))

    def ProcessQueue(self, request: worker.ProcessQueueRequest, context: Context) -> worker.ProcessQueueResponse:
        self._note(request, context)
        return self.script.processed

    def GetStatus(self, request: worker.GetStatusRequest, context: Context) -> worker.GetStatusResponse:
        self._note(request, context)
        return worker.GetStatusResponse()

    def _item(self, item: api.BatchItem) -> api.BatchItemResult:
        generation = item.image.image if item.HasField("image") else item.video.video
        if self.script.refused_item is not None:
            return api.BatchItemResult(error=self.script.refused_item.to_status())
        if not generation.prompt:
            return api.BatchItemResult(error=invalid([("image.prompt", "must not be empty")]).to_status())
        return api.BatchItemResult(job=self._accept(generation))

    def _accept(self, generation: ImageGeneration | VideoGeneration) -> Job:
        job = Job(id=job_id(len(self.script.jobs) + 1), state=JobState.JOB_STATE_QUEUED, max_attempts=3)
        if isinstance(generation, ImageGeneration):
            job.image.CopyFrom(generation)
        else:
            job.video.CopyFrom(generation)
        accepted = Job()
        accepted.CopyFrom(job)
        self._end(job, generation.prompt)
        return accepted

    def _end(self, job: Job, prompt: str) -> None:
        ending = ENDINGS.get(prompt.partition(" ")[0], SUCCEEDED)
        for state in (job.state, JobState.JOB_STATE_RUNNING, ending):
            sequence = len(self.script.events) + 1
            self.script.events.append(
                JobEvent(sequence=sequence, job_id=job.id, state=state, message=f"step {sequence}")
            )
        job.state = ending
        if ending == SUCCEEDED:
            job.asset.CopyFrom(Asset(bucket="storyboard-images", url=f"http://storage/{job.id}.png"))
        else:
            job.error.CopyFrom(_refusal())
        self.script.jobs[job.id] = job


def _refusal() -> JobError:
    error = JobError(code="SAFETY", message="the provider refuses the prompt")
    setattr(error, "class", ErrorClass.ERROR_CLASS_REFUSED)
    return error


def _abort(context: Context, error: ApiError) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(error.to_status()))
    raise AssertionError("abort returned")


@contextmanager
def scripted_server(script: Script, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """The address of a server that follows the script; with credentials it speaks TLS."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    servicer = Scripted(script)
    add_GenerationServiceServicer_to_server(servicer, server)
    add_QueueServiceServicer_to_server(servicer, server)
    add_TokenServiceServicer_to_server(servicer, server)
    add_WorkerServiceServicer_to_server(servicer, server)
    listen = "127.0.0.1:0"
    port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
