"""Cancel and redrive through all processes: what is paid once stays paid once (G1, G4, G5; I2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.e2e.kill_steps import kill_at
from tests.e2e.pipeline import Pipeline
from tests.running import ALICE, SERVICE

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def queues(running: Pipeline) -> Iterator[QueueServiceStub]:
    with grpc.insecure_channel(running.services["ingest"].address) as channel:
        yield QueueServiceStub(channel)


def redrive(queues: QueueServiceStub, job: job_pb2.Job, *, accept_second_payment: bool = False) -> None:
    request = queue_api.RedriveDeadLettersRequest(job_ids=[job.id], accept_second_payment=accept_second_payment)
    queues.RedriveDeadLetters(request, metadata=SERVICE)


def objects(running: Pipeline, board: str) -> int:
    """How many objects of a storyboard the final buckets hold."""
    record = running.sql.execute(
        "select count(*) from storage.objects where bucket_id like 'storyboard-%%' and name like %s", (f"{board}/%",)
    ).fetchone()
    assert record is not None
    return int(record[0])


def test_a_running_video_that_is_cancelled_is_not_stored_and_a_retry_fetches_it_unpaid(running: Pipeline) -> None:
    before = running.accepted()["video"]
    running.script({"on": "poll", "hold": True, "times": 1})
    job = running.video("cancelled")
    request = api.WatchJobsRequest(job_ids=[job.id])
    for answer in running.stub.WatchJobs(request, metadata=ALICE, timeout=90):
        if answer.event.message.startswith("Generating video"):
            break
    cancelled = running.stub.CancelJob(api.CancelJobRequest(job_id=job.id), metadata=ALICE).job
    assert cancelled.state == job_pb2.JOB_STATE_CANCELLED
    running.google.post("/_emulator/release")
    # The worker has noticed once it takes other work to its end.
    running.succeeded(running.video("after"))
    assert running.get(job.id).state == job_pb2.JOB_STATE_CANCELLED
    assert objects(running, "cancelled") == 0
    assert running.accepted()["video"] == before + 2
    running.stub.RetryJob(api.RetryJobRequest(job_id=job.id), metadata=ALICE)
    running.succeeded(job)
    assert running.accepted()["video"] == before + 2
    assert objects(running, "cancelled") == 1


def test_a_redriven_artifact_that_storage_refused_is_stored_without_a_new_call(
    running: Pipeline, queues: QueueServiceStub
) -> None:
    before = running.accepted()["image"]
    too_large = {"statusCode": "413", "error": "Payload too large", "message": "The object exceeded the maximum size"}
    # The final path is the one below the storyboard; staging goes by job.
    running.script_storage({"on": "upload", "path_contains": "refused/", "status": 400, "body": too_large})
    (dead,) = running.finished(running.image("refused"))
    assert (dead.state, dead.error.code) == (job_pb2.JOB_STATE_DEAD_LETTERED, "STORAGE_TOO_LARGE")
    redrive(queues, dead)
    (made,) = running.succeeded(dead)
    assert running.fetch(made)
    assert running.accepted()["image"] == before + 1


def test_a_cut_submit_is_sent_again_only_where_a_second_payment_is_accepted(
    running: Pipeline, queues: QueueServiceStub, tmp_path: Path
) -> None:
    before = running.accepted()["video"]
    jobs: list[job_pb2.Job] = []
    kill_at(running, "video_worker", "intended", tmp_path, lambda: jobs.append(running.video("cut")))
    (dead,) = running.finished(*jobs)
    assert dead.state == job_pb2.JOB_STATE_DEAD_LETTERED
    with pytest.raises(grpc.RpcError) as caught:
        redrive(queues, dead)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert running.accepted()["video"] == before
    redrive(queues, dead, accept_second_payment=True)
    running.succeeded(dead)
    assert running.accepted()["video"] == before + 1
