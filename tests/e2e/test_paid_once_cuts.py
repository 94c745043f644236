"""Workers that are killed or stopped, and owners who cancel, between a paid call and its asset."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from tests.e2e.kill_steps import stopped_at
from tests.e2e.paid_stage import KEPT_WAITING, Stage, logged, stop_at
from tests.emulators.storage_fixture import start_emulator, stop_emulator
from tests.running import ALICE
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(180)


def test_a_worker_killed_with_bytes_in_hand_while_storage_is_away_pays_nothing_more(
    stage: Stage, before: dict[str, int]
) -> None:
    running = stage.running
    worker = running.services["image_worker"]
    (job,) = stage.held("image")
    old = running.storage_emulator
    assert stop_emulator(old) == 0
    start = worker.log.stat().st_size
    stage.release()
    wait_for(lambda: logged(running, "image_worker", KEPT_WAITING, start))
    settled = "select 1 from superstoryboard.provider_calls where job_id = %s and state = 'SETTLED' and paid"
    wait_for(lambda: stage.admin.execute(settled, (job.id,)).fetchone() is not None)
    for _ in range(2):
        worker.kill()
        worker.start()
        worker.wait_serving()
    port = old.url.rpartition(":")[2]
    running.storage_emulator = start_emulator(old.database_url, old.state_dir, "--port", port)
    stage.stack.callback(stop_emulator, running.storage_emulator)
    (dead,) = running.finished(job)
    assert (dead.state, dead.error.code) == (job_pb2.JOB_STATE_DEAD_LETTERED, "PAID_RESULT_LOST")
    assert stage.accepted_since(before) == (1, 0)


def test_a_worker_killed_between_answer_and_staging_spends_its_attempt(
    stage: Stage, before: dict[str, int], tmp_path: Path
) -> None:
    running = stage.running
    stop_at(stage, "image_worker", "answered", tmp_path)
    job = running.image("answered")
    stopped_at(tmp_path / "answered")
    running.services["image_worker"].kill()
    running.services["image_worker"].start()
    (made,) = running.succeeded(job)
    assert (made.attempt, stage.accepted_since(before)) == (2, (2, 0))
    calls = running.sql.execute(
        "select state from superstoryboard.provider_calls where job_id = %s order by id", (job.id,)
    ).fetchall()
    assert calls == [("UNKNOWN",), ("SETTLED",)], "an unknown outcome, repeated and counted"


@pytest.mark.parametrize(("kind", "paid"), [("video", (0, 1)), ("image", (1, 0))])
def test_a_stop_in_a_slow_call_waits_for_its_answer(
    stage: Stage, before: dict[str, int], kind: str, paid: tuple[int, int]
) -> None:
    running = stage.running
    service = f"{kind}_worker"
    worker = running.services[service]
    start = worker.log.stat().st_size
    (job,) = stage.held(kind)
    worker.terminate()
    wait_for(lambda: logged(running, service, "Draining", start))
    stage.release()
    assert worker.wait_end() == 0
    assert not logged(running, service, "Asked to stop", start), "the drain leaves it its time"
    worker.start()
    worker.wait_serving()
    (made,) = running.succeeded(job)
    assert stage.accepted_since(before) == paid
    assert made.attempt == 1


def test_a_name_that_meets_a_read_only_database_is_kept(stage: Stage, before: dict[str, int]) -> None:
    running = stage.running
    start = running.services["video_worker"].log.stat().st_size
    (job,) = stage.held("video")
    stage.read_only("on")
    stage.release()
    wait_for(lambda: logged(running, "video_worker", "Operation accepted", start))
    named = "select operation_name from superstoryboard.provider_calls where job_id = %s"
    assert stage.admin.execute(named, (job.id,)).fetchone() == (None,)
    stage.read_only("off")
    running.succeeded(job)
    assert stage.accepted_since(before) == (0, 1)


def test_a_name_that_meets_a_locked_job_is_kept_at_once(stage: Stage, before: dict[str, int]) -> None:
    running = stage.running
    (job,) = stage.held("video")
    named = "select 1 from superstoryboard.provider_calls where job_id = %s and operation_name is not null"
    with psycopg.connect(running.database_url) as stranger:
        stranger.execute("select from superstoryboard.jobs where id = %s for update", (job.id,))
        stage.release()
        wait_for(lambda: stage.admin.execute(named, (job.id,)).fetchone() is not None)
    running.succeeded(job)
    assert stage.accepted_since(before) == (0, 1)


def test_an_owner_who_cancels_and_retries_in_flight_pays_once(stage: Stage, before: dict[str, int]) -> None:
    running = stage.running
    (job,) = stage.held("image")
    running.stub.CancelJob(api.CancelJobRequest(job_id=job.id), metadata=ALICE)
    stage.release()
    wait_for(lambda: stage.objects(job) == 1)
    kept = "select 1 from superstoryboard.artifacts where job_id = %s and state = 'STAGED'"
    wait_for(lambda: stage.admin.execute(kept, (job.id,)).fetchone() is not None)
    assert running.get(job.id).state == job_pb2.JOB_STATE_CANCELLED
    running.stub.RetryJob(api.RetryJobRequest(job_id=job.id), metadata=ALICE)
    running.succeeded(job)
    assert stage.accepted_since(before) == (1, 0)


def test_an_owner_who_cancels_a_staged_job_and_retries_pays_once(stage: Stage, before: dict[str, int]) -> None:
    running = stage.running
    writer = running.services["asset_writer"]
    writer.stop()
    job = running.image("staged")
    running.until(job, job_pb2.JOB_STATE_STAGED)
    running.stub.CancelJob(api.CancelJobRequest(job_id=job.id), metadata=ALICE)
    running.stub.RetryJob(api.RetryJobRequest(job_id=job.id), metadata=ALICE)
    writer.start()
    (made,) = running.succeeded(job)
    assert running.fetch(made)
    assert stage.accepted_since(before) == (1, 0)
