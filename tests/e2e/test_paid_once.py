"""Whatever stands between a paid call and its asset, nothing is paid twice (G1). Real processes, faults outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg
import pytest

from devstack.postgres import Postgres
from superstoryboard.jobs.migrate import migrate
from superstoryboard.runtime.checkpoints import VARIABLE
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import KV, Pipeline, pipeline
from tests.e2e.test_kills import stopped_at
from tests.emulators.google_fixture import wait_for
from tests.emulators.storage_fixture import start_emulator, stop_emulator
from tests.running import ALICE

WAIT_SECONDS = 30.0
KEPT_WAITING = "Staging does not take the artifact; it is kept and tried again"
REFUSALS = {
    413: {"statusCode": "413", "error": "Payload too large", "message": "The object exceeded the maximum size"},
    415: {"statusCode": "415", "error": "invalid_mime_type", "message": "mime type is not supported"},
    403: {"statusCode": "403", "error": "Unauthorized", "message": "new row violates row-level security policy"},
}
HTTP_STATUS = 400
"""With which real Storage answers what its body calls 413, 415 and 403."""

pytestmark = pytest.mark.timeout(180)


@dataclass
class Stage:
    """A pipeline whose services reach the database as a role that can be shut out; the emulators stay."""

    running: Pipeline
    admin: psycopg.Connection
    stack: ExitStack
    before: dict[str, int] = field(default_factory=dict)

    def held(self, kind: str, count: int = 1) -> list[job_pb2.Job]:
        """Jobs whose calls have reached Google, which does not answer before it is told to."""
        before = self.running.accepted()[kind]
        on = {"image": "image", "video": "submit"}[kind]
        self.running.script({"on": on, "hold": True, "times": count})
        ask = self.running.image if kind == "image" else self.running.video
        jobs = [ask(f"held-{kind}-{before}-{number}") for number in range(count)]
        wait_for(self.running.accepted, lambda accepted: accepted[kind] == before + count)
        return jobs

    def release(self, count: int = 1) -> None:
        """Let Google answer calls that are held; one that was only just accepted is held a moment later."""
        released = 0
        while released < count:
            released += self.running.google.post("/_emulator/release").raise_for_status().json()["released"]

    def accepted_since(self, before: dict[str, int]) -> tuple[int, int]:
        """Images and videos that Google was paid for since."""
        now = self.running.accepted()
        return now["image"] - before["image"], now["video"] - before["video"]

    def shut_out(self) -> None:
        """For the services the database is away."""
        self.admin.execute("alter role services nologin")
        self.admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'services'")

    def let_in(self) -> None:
        self.admin.execute("alter role services login")

    def read_only(self, value: str) -> None:
        self.admin.execute(f"alter system set default_transaction_read_only = {value}")
        self.admin.execute("select pg_reload_conf()")
        # The server tells its sessions when it comes to it; those that are new say whether it did.
        until(lambda: self._new_sessions_say(value))

    def _new_sessions_say(self, value: str) -> bool:
        with psycopg.connect(self.running.database_url) as fresh:
            return fresh.execute("show default_transaction_read_only").fetchone() == (value,)

    def objects(self, job: job_pb2.Job) -> int:
        """What lies in staging for a job."""
        found = self.admin.execute(
            "select count(*) from storage.objects where bucket_id = 'artifact-staging' and name like %s",
            (f"{job.id}/%",),
        ).fetchone()
        assert found is not None
        return int(found[0])

    def unstaged(self) -> None:
        """Take all scripted answers of Storage back."""
        httpx.post(f"{self.running.storage_url}/_emulator/reset").raise_for_status()


def until(true: Callable[[], bool]) -> None:
    """Ask again and again until it is true."""
    pause = threading.Event()
    for _ in range(int(WAIT_SECONDS / 0.05)):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError("it never became true")


def logged(running: Pipeline, service: str, event: str, start: int = 0) -> bool:
    return event.encode() in running.services[service].log.read_bytes()[start:]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="postgres-")))
        postgres = stack.enter_context(Postgres(folder, settings={"fsync": "off"}))
        migrate(postgres.url, kv_table=KV)
        admin = stack.enter_context(psycopg.connect(postgres.url, autocommit=True))
        admin.execute("set default_transaction_read_only = off")
        admin.execute("create role services login superuser")
        as_services = postgres.url.replace("postgres@", "services@", 1)
        assert as_services != postgres.url
        own = {"DATABASE_URL": as_services, "DATABASE_LISTEN_URL": as_services}
        running = stack.enter_context(
            pipeline(
                postgres.url,
                tmp_path_factory.mktemp("paid-once"),
                ingest=own,
                image_worker=own,
                video_worker=own,
                asset_writer=own,
            )
        )
        yield Stage(running, admin, stack)


@pytest.fixture
def before(stage: Stage) -> dict[str, int]:
    return stage.running.accepted()


@pytest.mark.parametrize("status", [413, 415])
def test_an_image_that_staging_refuses_for_good_is_paid_once_and_kept(
    stage: Stage, before: dict[str, int], status: int
) -> None:
    running = stage.running
    (job,) = stage.held("image")
    running.script_storage(
        {"on": "upload", "path_contains": job.id, "status": HTTP_STATUS, "body": REFUSALS[status], "times": 1}
    )
    stage.release()
    (made,) = running.succeeded(job)
    assert (made.attempt, stage.accepted_since(before)) == (1, (1, 0))


@pytest.mark.parametrize("status", [413, 415])
def test_an_image_that_staging_goes_on_refusing_is_a_dead_letter_paid_once(
    stage: Stage, before: dict[str, int], status: int
) -> None:
    running = stage.running
    (job,) = stage.held("image")
    running.script_storage(
        {"on": "upload", "path_contains": job.id, "status": HTTP_STATUS, "body": REFUSALS[status], "times": 100}
    )
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
    until(lambda: logged(running, "image_worker", "No job is taken: staging does not work", start))
    waiting = running.get(job.id)
    assert (waiting.state, waiting.error.code) == (job_pb2.JOB_STATE_RUNNING, "STORAGE_CONFIG")
    others = [running.image("waits") for _ in range(3)]
    start = running.services["image_worker"].log.stat().st_size  # a proof after these were asked for
    until(lambda: logged(running, "image_worker", "No job is taken: staging does not work", start))
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
    until(lambda: all(stage.objects(job) == 1 for job in jobs))
    leases = "select 1 from superstoryboard.jobs where id = any (%s) and state = 'RUNNING' having count(*) = 4"
    assert stage.admin.execute(leases, ([job.id for job in jobs],)).fetchone() is not None
    threading.Event().wait(4)  # longer than the lease, so that the other worker may claim them first
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


def stop_at(stage: Stage, service: str, step: str, folder: Path) -> None:
    """Restart a service so that it stops at a step."""
    process = stage.running.services[service]
    process.stop()
    process.start(**{VARIABLE: f"{step}:{folder / step}"})
    process.wait_serving()


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
    until(lambda: logged(running, "image_worker", KEPT_WAITING, start))
    settled = "select 1 from superstoryboard.provider_calls where job_id = %s and state = 'SETTLED' and paid"
    until(lambda: stage.admin.execute(settled, (job.id,)).fetchone() is not None)
    for _ in range(2):
        worker.kill()
        worker.start()
        worker.wait_serving()
    port = old.url.rpartition(":")[2]
    running.storage_emulator = start_emulator(old.database_url, old.state_dir, "--port", port)
    stage.stack.callback(stop_emulator, running.storage_emulator)
    (dead,) = running.finished(job)
    assert (dead.state, dead.error.code) == (job_pb2.JOB_STATE_DEAD_LETTERED, "PAID_FOR_NOTHING")
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


def test_a_stop_in_a_slow_submit_waits_for_its_name(stage: Stage, before: dict[str, int]) -> None:
    running = stage.running
    worker = running.services["video_worker"]
    start = worker.log.stat().st_size
    (job,) = stage.held("video")
    worker.terminate()
    until(lambda: logged(running, "video_worker", "Draining", start))
    stage.release()
    assert worker.wait_end() == 0
    worker.start()
    worker.wait_serving()
    (made,) = running.succeeded(job)
    assert stage.accepted_since(before) == (0, 1)
    assert made.attempt == 1


def test_a_name_that_meets_a_read_only_database_is_kept(stage: Stage, before: dict[str, int]) -> None:
    running = stage.running
    start = running.services["video_worker"].log.stat().st_size
    (job,) = stage.held("video")
    stage.read_only("on")
    stage.release()
    until(lambda: logged(running, "video_worker", "Operation accepted", start))
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
        until(lambda: stage.admin.execute(named, (job.id,)).fetchone() is not None)
    running.succeeded(job)
    assert stage.accepted_since(before) == (0, 1)


def test_an_owner_who_cancels_and_retries_in_flight_pays_once(stage: Stage, before: dict[str, int]) -> None:
    running = stage.running
    (job,) = stage.held("image")
    running.stub.CancelJob(api.CancelJobRequest(job_id=job.id), metadata=ALICE)
    stage.release()
    until(lambda: stage.objects(job) == 1)
    kept = "select 1 from superstoryboard.artifacts where job_id = %s and state = 'STAGED'"
    until(lambda: stage.admin.execute(kept, (job.id,)).fetchone() is not None)
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
