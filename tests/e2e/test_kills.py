"""kill -9 of each process at a named step: after its restart everything ends well, and nothing is paid twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from tests.e2e.kill_steps import check_once, kill_at
from tests.e2e.pipeline import Pipeline, pipeline
from tests.running import ALICE
from tests.waiting import WAIT_SECONDS

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def running(module_database_url: str, tmp_path_factory: pytest.TempPathFactory, amqp_url: str) -> Iterator[Pipeline]:
    with pipeline(module_database_url, tmp_path_factory.mktemp("kills"), amqp_url) as started:
        yield started


def survives(running: Pipeline, kind: str, service: str, step: str, folder: Path) -> None:
    """A job of that kind during which a service is killed at a step succeeds, and is paid for once."""
    board = f"{kind}-{service}-{step}"
    running.put(f"scene:{board}:s1", {"id": "s1"})
    before = running.accepted()[kind]
    create = running.image if kind == "image" else running.video
    jobs: list[job_pb2.Job] = []
    kill_at(running, service, step, folder, lambda: jobs.append(create(board, scene_id="s1")))
    (made,) = running.succeeded(*jobs)
    check_once(running, made, kind, before)


@pytest.mark.parametrize(
    ("service", "step"),
    [
        ("image_worker", "claimed"),
        ("image_worker", "staged-bytes"),
        ("image_worker", "staged"),
        ("asset_writer", "fetched"),
        ("asset_writer", "uploaded"),
        ("asset_writer", "finished"),
    ],
)
def test_an_image_survives(running: Pipeline, service: str, step: str, tmp_path: Path) -> None:
    survives(running, "image", service, step, tmp_path)


@pytest.mark.parametrize(
    ("service", "step"),
    [
        ("video_worker", "claimed"),
        ("video_worker", "accepted"),
        ("video_worker", "operation-done"),
        ("video_worker", "downloaded"),
        ("video_worker", "staged"),
        ("asset_writer", "uploaded"),
    ],
)
def test_a_video_survives(running: Pipeline, service: str, step: str, tmp_path: Path) -> None:
    survives(running, "video", service, step, tmp_path)


def test_a_video_whose_submit_was_cut_is_shown_and_not_paid_again(running: Pipeline, tmp_path: Path) -> None:
    before = running.accepted()["video"]
    jobs: list[job_pb2.Job] = []
    kill_at(running, "video_worker", "intended", tmp_path, lambda: jobs.append(running.video("cut")))
    (dead,) = running.finished(*jobs)
    assert dead.state == job_pb2.JOB_STATE_DEAD_LETTERED
    assert getattr(dead.error, "class") == job_pb2.ERROR_CLASS_UNKNOWN_OUTCOME
    assert running.accepted()["video"] == before


def test_a_full_gate_lets_the_operations_of_a_killed_worker_end(running: Pipeline) -> None:
    limit, board = 10, "full-gate"
    before = running.accepted()["video"]
    worker = running.services["video_worker"]
    worker.stop()
    running.script({"on": "poll", "hold": True, "times": 1000})
    worker.start(VIDEO_RUNNING_OPERATIONS=str(limit))
    worker.wait_serving()
    jobs = [running.video(board) for _ in range(limit + 2)]
    accepted = (
        "select 1 from superstoryboard.provider_calls c join superstoryboard.jobs j on j.id = c.job_id"
        " where j.storyboard_id = %s and c.state = 'ACCEPTED' having count(*) = %s"
    )
    running.wait_for_row(accepted, (board, limit))
    worker.kill()
    assert running.accepted()["video"] == before + limit, "the gate is full"
    running.google.post("/_emulator/reset").raise_for_status()
    worker.start(VIDEO_RUNNING_OPERATIONS=str(limit))
    worker.wait_serving()
    running.succeeded(*jobs)
    assert running.accepted()["video"] == 2, "since the reset: ten were polled on, two were new"
    worker.stop()
    worker.start()
    worker.wait_serving()


def test_ingest_killed_between_commit_and_answer_makes_no_second_job(running: Pipeline, tmp_path: Path) -> None:
    request = api.CreateImageJobRequest(
        image=job_pb2.ImageGeneration(storyboard_id="lost-answer", prompt="a fox"), request_id="lost-answer"
    )
    before = running.accepted()["image"]
    with ThreadPoolExecutor(1) as pool:
        answers = []

        def submit() -> None:
            answers.append(pool.submit(running.stub.CreateImageJob, request, metadata=ALICE, timeout=WAIT_SECONDS))

        kill_at(running, "ingest", "accepted-job", tmp_path, submit)
        with pytest.raises(grpc.RpcError):
            answers[0].result()
    job = running.stub.CreateImageJob(request, metadata=ALICE, wait_for_ready=True).job
    running.succeeded(job)
    assert running.accepted()["image"] == before + 1
    count = running.sql.execute("select count(*) from superstoryboard.jobs where storyboard_id = 'lost-answer'")
    assert count.fetchone() == (1,)


def test_a_worker_takes_up_to_n_messages_and_exits(running: Pipeline) -> None:
    worker = running.services["image_worker"]
    worker.stop()
    jobs = [running.image("once") for _ in range(3)]
    worker.start("--once", "2")
    assert worker.wait_end() == 0
    running.succeeded(*jobs[:2])
    assert running.get(jobs[2].id).state == job_pb2.JOB_STATE_QUEUED
    worker.start()
    worker.wait_serving()
    running.succeeded(jobs[2])


def test_a_stopping_video_worker_hands_its_operation_to_the_next(running: Pipeline) -> None:
    before = running.accepted()["video"]
    running.script({"on": "poll", "hold": True, "times": 1})
    job = running.video("drained")
    running.until(job, job_pb2.JOB_STATE_RUNNING)
    worker = running.services["video_worker"]
    running.google.post("/_emulator/release")
    worker.stop()
    worker.start()
    worker.wait_serving()
    (made,) = running.succeeded(job)
    assert running.accepted()["video"] == before + 1
    assert made.attempt == 1


def test_a_video_that_takes_too_long_ends_its_attempt_and_is_fetched_all_the_same(running: Pipeline) -> None:
    before = running.accepted()["video"]
    worker = running.services["video_worker"]
    worker.stop()
    running.script({"on": "poll", "times": 12, "status": 200, "body": {"name": "models/m/operations/still-running"}})
    worker.start(VIDEO_TIMEOUT_SECONDS="1")
    worker.wait_serving()
    job = running.video("slow")
    late = running.until(job, job_pb2.JOB_STATE_RETRYING)
    assert late.error.message == "Video generation timed out after 6 minutes"
    (made,) = running.succeeded(job)
    assert running.accepted()["video"] == before + 1
    assert made.attempt == 1
    worker.stop()
    worker.start()
    worker.wait_serving()
