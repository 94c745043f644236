"""Calls to the services: one channel, every call with a deadline and the caller's token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.rpc_errors import spoken_errors
from storyboard.api.settings import Endpoint, ingest_endpoint, token
from storyboard.api.tls import channel_credentials
from superstoryboard.v1 import generation_service_pb2 as generation
from superstoryboard.v1 import generation_service_pb2_grpc, worker_service_pb2_grpc
from superstoryboard.v1 import worker_service_pb2 as worker
from superstoryboard.v1.job_pb2 import Job

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
CALL_SECONDS = 15.0
BATCH_SECONDS = 60.0
# A stream is renewed after this time, so that a connection that died in silence is noticed.
STREAM_SECONDS = 60.0
PAGE_SIZE = 1000
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # The services are on this machine or in the cluster, never behind a web proxy.
    ("grpc.enable_http_proxy", 0),
    ("grpc.primary_user_agent", "storyboard-cli"),
)
Metadata = tuple[tuple[str, str], ...]


def caller_metadata() -> Metadata:
    """Who calls: the bearer token, if there is one.

    Raises:
        CommandError: the token cannot be sent in a header.
    """
    bearer = token()
    if not (bearer.isascii() and bearer.isprintable()):
        raise CommandError(ExitCode.USAGE, ["STORYBOARD_TOKEN contains invalid characters."])
    return (("authorization", f"Bearer {bearer}"),) if bearer else ()


@contextmanager
def connect(endpoint: Endpoint) -> Iterator[grpc.Channel]:
    """A channel that is closed at the end; the first call finds out whether anyone answers.

    Raises:
        CommandError: the settings of TLS cannot be used.
    """
    if endpoint.tls:
        channel = grpc.secure_channel(endpoint.address, channel_credentials(), options=CHANNEL_OPTIONS)
    else:
        channel = grpc.insecure_channel(endpoint.address, options=CHANNEL_OPTIONS)
    try:
        yield channel
    finally:
        channel.close()


@dataclass(frozen=True)
class Ingest:
    """GenerationService. Every method but `watch` raises CommandError where the call fails."""

    endpoint: Endpoint
    stub: generation_service_pb2_grpc.GenerationServiceStub
    metadata: Metadata

    def create_image(self, request: generation.CreateImageJobRequest) -> Job:
        with spoken_errors(self.endpoint):
            return self.stub.CreateImageJob(request, timeout=CALL_SECONDS, metadata=self.metadata).job

    def create_video(self, request: generation.CreateVideoJobRequest) -> Job:
        with spoken_errors(self.endpoint):
            return self.stub.CreateVideoJob(request, timeout=CALL_SECONDS, metadata=self.metadata).job

    def create_batch(self, items: list[generation.BatchItem]) -> list[generation.BatchItemResult]:
        request = generation.BatchCreateJobsRequest(items=items)
        with spoken_errors(self.endpoint):
            answer = self.stub.BatchCreateJobs(request, timeout=BATCH_SECONDS, metadata=self.metadata)
        return list(answer.results)

    def get(self, job_id: str) -> Job:
        request = generation.GetJobRequest(job_id=job_id)
        with spoken_errors(self.endpoint):
            return self.stub.GetJob(request, timeout=CALL_SECONDS, metadata=self.metadata).job

    def list_jobs(self, filters: generation.ListJobsRequest, limit: int) -> list[Job]:
        """The newest jobs that match, page by page, at most `limit`."""
        jobs: list[Job] = []
        request = generation.ListJobsRequest()
        request.CopyFrom(filters)
        while len(jobs) < limit:
            request.page_size = min(limit - len(jobs), PAGE_SIZE)
            with spoken_errors(self.endpoint):
                page = self.stub.ListJobs(request, timeout=CALL_SECONDS, metadata=self.metadata)
            jobs += page.jobs
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return jobs

    def cancel(self, job_id: str) -> Job:
        request = generation.CancelJobRequest(job_id=job_id)
        with spoken_errors(self.endpoint):
            return self.stub.CancelJob(request, timeout=CALL_SECONDS, metadata=self.metadata).job

    def retry(self, job_id: str, *, accept_second_payment: bool) -> Job:
        request = generation.RetryJobRequest(job_id=job_id, accept_second_payment=accept_second_payment)
        with spoken_errors(self.endpoint):
            return self.stub.RetryJob(request, timeout=CALL_SECONDS, metadata=self.metadata).job

    def watch(self, request: generation.WatchJobsRequest) -> Iterator[generation.WatchJobsResponse]:
        """One stream of events, cut after STREAM_SECONDS.

        Raises:
            grpc.RpcError: the stream broke; whoever reads it knows where to resume.
        """
        return iter(self.stub.WatchJobs(request, timeout=STREAM_SECONDS, metadata=self.metadata))


@contextmanager
def connect_ingest() -> Iterator[Ingest]:
    """The ingest service of INGEST_ADDRESS."""
    endpoint = ingest_endpoint()
    with connect(endpoint) as channel:
        stub = generation_service_pb2_grpc.GenerationServiceStub(channel)
        yield Ingest(endpoint, stub, caller_metadata())


def process_queue(endpoint: Endpoint, max_messages: int, timeout_seconds: float) -> worker.ProcessQueueResponse:
    """Make a worker process messages now; 0 messages means its default.

    Raises:
        CommandError: the call failed.
    """
    request = worker.ProcessQueueRequest(max_messages=max_messages)
    with connect(endpoint) as channel, spoken_errors(endpoint):
        stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
        return stub.ProcessQueue(request, timeout=timeout_seconds, metadata=caller_metadata())
