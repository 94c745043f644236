"""Whatever stands between a paid call and its asset, nothing is paid twice (G1). Real processes, faults outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from superstoryboard.v1 import job_pb2
from tests.e2e.kill_steps import stopped_at
from tests.e2e.paid_stage import Stage, logged, stop_at
from tests.e2e.pipeline import Pipeline
from tests.waiting import wait_for

REFUSALS = {
    413: {"statusCode": "413", "error": "Payload too large", "message": "The object exceeded the maximum size"},
    415: {"statusCode": "415", "error": "invalid_mime_type", "message": "mime type is not supported"},
    403: {"statusCode": "403", "error": "Unauthorized", "message": "new row violates row-level security policy"},
}

HTTP_STATUS = 400
"""With which real Storage answers what its body calls 413, 415 and 403."""

pytestmark = pytest.mark.timeout(180)


def refuse_upload(running: Pipeline, job: job_pb2.Job, status: int, *, times: int) -> None:
    """Staging refuses the next uploads of a job."""
    entry = {"on": "upload", "path_contains": job.id, "status": HTTP_STATUS, "body": REFUSALS[status], "times": times}
    running.script_storage(entry)


@pytest.mark.parametrize("status", [413, 415])
def test_an_image_that_staging_refuses_for_good_is_paid_once_and_kept(
    stage: Stage, before: dict[str, int], status: int
) -> None:
    running = stage.running
    (job,) = stage.held("image")
    refuse_upload(running, job, status, times=1)
    stage.release()
    (made,) = running.succeeded(job)
    assert (made.attempt, stage.accepted_since(before)) == (1, (1, 0))


@pytest.mark.parametrize("status", [413, 415])
def test_an_image_that_staging_goes_on_refusing_is_a_dead_letter_paid_once(
    stage: Stage, before: dict[str, int], status: int
) -> None:
    running = stage.running
    (job,) = stage.held("image")
    refuse_upload(running, job, status, times=100)
    stage.release()
    (dead,) = running.finished(job)
    assert dead.state == job_pb2.JOB_STATE_DEAD_LETTERED
    assert dead.error.code == {413: "STORAGE_TOO_LARGE", 415: "STORAGE_WRONG_MEDIA_TYPE"}[status]
    other = running.image("beside")
    running.succeeded(other)
    assert stage.accepted_since(before) == (2, 0)
    stage.unstaged()


def test_nothing_is_paid_while_staging_refuses_everything(stage: Stage, before: dict[str, int]) -> None:
    running = stage.running
    (job,) = stage.held("image")
    running.script_storage(
        {
            "on": "upload",
            "path_contains": "artifact-staging",
            "status": HTTP_STATUS,
            "body": REFUSALS[403],
            "times": 10_000,
        }
    )
    start = running.services["image_worker"].log.stat().st_size
    stage.release()
    wait_for(lambda: logged(running, "image_worker", "No jobs are claimed: staging cannot be used", start))
    waiting = running.get(job.id)
    assert (waiting.state, waiting.error.code) == (job_pb2.JOB_STATE_RUNNING, "STORAGE_CONFIG")
    others = [running.image("waits") for _ in range(3)]
    start = running.services["image_worker"].log.stat().st_size  # a proof after these were asked for
    wait_for(lambda: logged(running, "image_worker", "No jobs are claimed: staging cannot be used", start))
    assert stage.accepted_since(before) == (1, 0)
    stage.unstaged()
    made = running.succeeded(job, *others)
    assert [each.attempt for each in made] == [1, 1, 1, 1]
    assert stage.accepted_since(before) == (4, 0)


def test_answers_that_come_while_the_database_is_away_are_staged_at_once_and_handed_over(
    stage: Stage, before: dict[str, int]
) -> None:
    running = stage.running
    other = running.services["image_worker"].twin("other")
    other.start()
    other.wait_serving()
    jobs = stage.held("image", 4)
    stage.shut_out()
    stage.release(4)
    wait_for(lambda: all(stage.objects(job) == 1 for job in jobs))
    ids = [job.id for job in jobs]
    held = "select 1 from superstoryboard.jobs where id = any (%s) and state = 'RUNNING' having count(*) = 4"
    assert stage.admin.execute(held, (ids,)).fetchone() is not None
    # From then on the other worker may claim them first.
    over = "select count(*) = 4 from superstoryboard.turns where job = any (%s) and lease_until < clock_timestamp()"
    wait_for(lambda: stage.admin.execute(over, (ids,)).fetchone() == (True,), what="the end of the leases")
    stage.let_in()
    running.succeeded(*jobs)
    assert stage.accepted_since(before) == (4, 0)
    other.stop()


@pytest.mark.parametrize(
    "answer",
    [
        {"on": "info", "status": 503, "body": "no healthy upstream"},
        {"on": "download", "status": 503, "body": "no healthy upstream"},
        {"on": "download", "status": 200, "body": "<html>hello</html>"},
        {"on": "info", "status": 200, "body": {"hello": "there"}},
        {
            "on": "info",
            "status": 400,
            "body": {"statusCode": "404", "error": "not_found", "message": "Object not found"},
        },
    ],
    ids=["stat-503", "download-503", "download-strange-200", "stat-strange-200", "stat-one-404"],
)
def test_one_bad_answer_at_a_rescue_is_not_believed(
    stage: Stage, before: dict[str, int], tmp_path: Path, answer: dict[str, Any]
) -> None:
    running = stage.running
    worker = running.services["image_worker"]
    stop_at(stage, "image_worker", "staged-bytes", tmp_path)
    job = running.image("rescued")
    stopped_at(tmp_path / "staged-bytes")
    running.script_storage({"path_contains": job.id, "times": 1} | answer)
    worker.kill()
    worker.start()
    (made,) = running.succeeded(job)
    assert running.fetch(made)
    assert (made.attempt, stage.accepted_since(before)) == (1, (1, 0))
