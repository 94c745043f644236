"""The asset_writer against staged bytes that are wrong, gone or unwelcome (I3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from superstoryboard.broker.artifacts import Broker
from superstoryboard.db.database import Database
from superstoryboard.storage.buckets import ensure_buckets
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1.artifact_pb2 import ArtifactReady
from tests.e2e.pipeline import KV, Pipeline, pipeline
from tests.e2e.stager import Stager, encoded
from tests.emulators.storage_fixture import SECRET_KEY, STAGING_BUCKET
from tests.running import ALICE

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def running(module_database_url: str, tmp_path_factory: pytest.TempPathFactory, amqp_url: str) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("writing")
    with pipeline(module_database_url, folder, amqp_url, start=("ingest",)) as started:
        yield started


@pytest.fixture
async def stager(running: Pipeline) -> AsyncIterator[Stager]:
    database = await Database.connect(running.database_url, name="test")
    store = await ObjectStore.connect(url=running.storage_url, key=SECRET_KEY, timeout_seconds=30)
    await ensure_buckets(store, STAGING_BUCKET)
    yield Stager(running, database, store)
    await store.aclose()
    await database.aclose()


@pytest.fixture
def writer(running: Pipeline) -> Iterator[Pipeline]:
    """The pipeline, whose asset_writer a test starts when all is laid out."""
    yield running
    running.services["asset_writer"].stop()


def start_writer(running: Pipeline, **settings: str) -> None:
    running.services["asset_writer"].start(**settings)


@pytest.mark.parametrize(
    "staged",
    [None, encoded(colour="red"), encoded()[:-9], encoded() + b"x"],
    ids=["gone", "other bytes", "cut off", "longer"],
)
async def test_bytes_that_stay_other_than_what_was_staged_send_the_job_back(
    writer: Pipeline, stager: Stager, request: pytest.FixtureRequest, staged: bytes | None
) -> None:
    board = "wrong-" + request.node.callspec.id.replace(" ", "-")
    job, new = await stager.stage(board, encoded(), staged)
    start_writer(writer, WRITER_DOUBT_SECONDS="0.2")
    back = writer.until(job, job_pb2.JOB_STATE_RETRYING)
    assert back.error.code == "STAGED_BYTES_LOST"
    assert "imageUrl" not in writer.kv(f"scene:{board}:s1")
    assert await stager.store.stat(new.bucket, new.path) is None
    assert len(requests(writer, "download", new.staging_key)) >= 3
    writer.sql.execute("select pgmq.archive('image_generation_queue', %s::bigint)", (job.msg_id,))


@pytest.mark.parametrize(
    "strange",
    [
        {"status": 500, "body": {"statusCode": "500", "error": "Internal", "message": "broken"}},
        {"status": 404, "body": {"statusCode": "404", "error": "not_found", "message": "Object not found"}},
        {"status": 400, "body": {"statusCode": "404", "error": "not_found", "message": "Object not found"}},
        {"status": 200, "body": {"hello": "I am a captive portal"}},
        {"status": 200, "body": ["x" * 100_000]},
        {"drop": True},
    ],
    ids=["error", "missing", "missing as it is said", "short body", "long body", "cut off"],
)
async def test_one_strange_answer_to_a_read_is_waited_for(
    writer: Pipeline, stager: Stager, request: pytest.FixtureRequest, strange: dict[str, Any]
) -> None:
    board = "strange-" + request.node.callspec.id.replace(" ", "-")
    job, new = await stager.stage(board, encoded(), encoded())
    writer.script_storage({"on": "download", "path_contains": new.staging_key, **strange})
    start_writer(writer, WRITER_DOUBT_SECONDS="0.001")
    (made,) = writer.succeeded(job)
    assert made.attempt == 1
    assert writer.fetch(made) == encoded()
    assert states(writer, job) == ["QUEUED", "RUNNING", "STAGED", "STAGED", "SUCCEEDED"], "the wait shows in the job"


@pytest.mark.parametrize("staged", [encoded("JPEG"), b"no image at all"], ids=["another type", "unreadable"])
async def test_whole_bytes_of_the_wrong_kind_are_kept_for_a_person(
    writer: Pipeline, stager: Stager, request: pytest.FixtureRequest, staged: bytes
) -> None:
    """They are what was paid for, to the last bit: another call would pay again."""
    job, new = await stager.stage("kind-" + request.node.callspec.id.replace(" ", "-"), staged, staged)
    start_writer(writer)
    (dead,) = writer.finished(job)
    assert (dead.state, dead.error.code) == (job_pb2.JOB_STATE_DEAD_LETTERED, "ARTIFACT_UNUSABLE")
    assert await stager.store.stat(STAGING_BUCKET, new.staging_key) is not None


def requests(running: Pipeline, sort: str, key: str) -> list[Any]:
    """What was asked of Storage about one object."""
    log = httpx.get(f"{running.storage_url}/_emulator/requests").raise_for_status().json()["requests"]
    return [entry for entry in log if entry["on"] == sort and entry["path"].endswith(key)]


def states(running: Pipeline, job: job_pb2.Job) -> list[str]:
    rows = running.sql.execute(
        "select state from superstoryboard.job_events where job_id = %s order by sequence", (job.id,)
    )
    return [state for (state,) in rows.fetchall()]


async def test_a_locked_storyboard_delays_only_itself(writer: Pipeline, stager: Stager) -> None:
    held, _ = await stager.stage("held", encoded(), encoded())
    with psycopg.connect(writer.database_url) as outside:
        outside.execute(f"select from {KV} where key = 'scene:held:s1' for update")
        start_writer(writer, WRITER_CONCURRENCY="1")
        others = [(await stager.stage(f"free-{number}", encoded(), encoded()))[0] for number in range(6)]
        writer.succeeded(*others)
        writer.wait_for_row(
            "select 1 from superstoryboard.jobs where id = %s and error ->> 'code' = 'ROWS_LOCKED'", (held.id,)
        )
    writer.succeeded(held)
    assert "imageUrl" in writer.kv("scene:held:s1")


async def test_a_locked_job_or_message_delays_only_itself(writer: Pipeline, stager: Stager) -> None:
    job, _ = await stager.stage("held-job", encoded(), encoded())
    other, _ = await stager.stage("held-message", encoded(), encoded())
    with psycopg.connect(writer.database_url) as outside:
        outside.execute("select from superstoryboard.jobs where id = %s for update", (job.id,))
        outside.execute("select from pgmq.q_image_generation_queue where msg_id = %s for update", (other.msg_id,))
        start_writer(writer)
        free, _ = await stager.stage("free", encoded(), encoded())
        writer.succeeded(free)
        assert {writer.get(held.id).state for held in (job, other)} == {job_pb2.JOB_STATE_STAGED}
    writer.succeeded(job, other)


async def test_a_trigger_that_refuses_buries_its_own_artifact_and_a_redrive_writes_it(
    writer: Pipeline, stager: Stager
) -> None:
    writer.sql.execute(
        "create function refuse_scene() returns trigger language plpgsql as"
        " $$ begin raise exception 'no' using errcode = '23514'; end $$"
    )
    writer.sql.execute(
        f"create trigger refuse_scene before update on {KV} for each row when (new.key = 'scene:trigger:s1')"
        " execute function refuse_scene()"
    )
    job, new = await stager.stage("trigger", encoded(), encoded())
    start_writer(writer, WRITER_REFUSALS="2")
    other, _ = await stager.stage("no-trigger", encoded(), encoded())
    writer.succeeded(other)
    (dead,) = writer.finished(job)
    assert (dead.state, dead.error.code) == (job_pb2.JOB_STATE_DEAD_LETTERED, "LINK_REFUSED")
    writer.sql.execute(f"drop trigger refuse_scene on {KV}")
    writer.stub.RetryJob(api.RetryJobRequest(job_id=job.id), metadata=ALICE)
    (made,) = writer.succeeded(job)
    assert writer.fetch(made) == encoded()
    calls = writer.sql.execute("select count(*) from superstoryboard.provider_calls where job_id = %s", (job.id,))
    assert calls.fetchone() == (1,), "what is staged is written without another call"
    assert len(requests(writer, "upload", new.path)) == 1, "what lies in its place is not uploaded again"


async def test_staged_bytes_that_are_gone_are_no_loss_where_the_object_is_in_its_place(
    writer: Pipeline, stager: Stager
) -> None:
    data = encoded()
    job, new = await stager.stage("written-before", data, None)
    await stager.store.upload(new.bucket, new.path, data, "image/png")
    start_writer(writer)
    (made,) = writer.succeeded(job)
    assert writer.fetch(made) == data
    assert writer.kv("scene:written-before:s1")["imageUrl"] == made.asset.url


async def test_an_object_that_storage_refuses_for_good_is_kept_for_a_person(writer: Pipeline, stager: Stager) -> None:
    job, new = await stager.stage("refused", encoded(), encoded())
    too_large = {"statusCode": "413", "error": "Payload too large", "message": "The object exceeded the maximum size"}
    writer.script_storage({"on": "upload", "path_contains": new.path, "status": 400, "body": too_large})
    start_writer(writer)
    (dead,) = writer.finished(job)
    assert (dead.state, dead.error.code) == (job_pb2.JOB_STATE_DEAD_LETTERED, "STORAGE_TOO_LARGE")
    kept = writer.sql.execute("select state from superstoryboard.artifacts where id = %s", (new.id,)).fetchone()
    assert kept == ("STAGED",)
    assert await stager.store.stat(STAGING_BUCKET, new.staging_key) is not None


async def test_a_storage_that_is_away_for_a_while_costs_nothing(writer: Pipeline, stager: Stager) -> None:
    job, new = await stager.stage("away", encoded(), encoded())
    writer.script_storage(
        {"on": "upload", "path_contains": new.path, "status": 500, "body": {"message": "broken"}},
        {"on": "download", "path_contains": new.staging_key, "drop": True},
    )
    start_writer(writer)
    (made,) = writer.succeeded(job)
    assert made.attempt == 1


async def test_a_message_is_deleted_on_success_where_the_setting_says_so(writer: Pipeline, stager: Stager) -> None:
    job, _ = await stager.stage("deleted", encoded(), encoded())
    start_writer(writer, QUEUE_COMPLETION="delete")
    writer.succeeded(job)
    for table in ("pgmq.q_image_generation_queue", "pgmq.a_image_generation_queue"):
        record = writer.sql.execute(f"select count(*) from {table} where msg_id = %s", (job.msg_id,)).fetchone()
        assert record == (0,)


async def test_deliveries_that_come_twice_or_late_link_once(writer: Pipeline, stager: Stager, amqp_url: str) -> None:
    job, new = await stager.stage("doubled", encoded(), encoded())
    broker = Broker(amqp_url, "test")
    await broker.connect()
    ready = ArtifactReady(artifact_id=str(new.id))
    for _ in range(3):
        assert await broker.publish(ready)
    start_writer(writer)
    writer.succeeded(job)
    assert await broker.publish(ready)
    assert await broker.publish(ArtifactReady(artifact_id=str(UUID(int=7))))
    after, other = await stager.stage("after", encoded(), encoded())
    assert await broker.publish(ArtifactReady(artifact_id=str(other.id)))
    writer.succeeded(after)
    await broker.aclose()
    stored = writer.sql.execute(
        "select count(*) from superstoryboard.job_events where job_id = %s and state = 'SUCCEEDED'", (job.id,)
    ).fetchone()
    assert stored == (1,)


async def test_objects_of_a_cancelled_job_are_removed_after_a_while(writer: Pipeline, stager: Stager) -> None:
    job, new = await stager.stage("cancelled", encoded(), encoded())
    await stager.store.upload(new.bucket, new.path, encoded(), "image/png")
    writer.sql.execute("select pgmq.archive('image_generation_queue', %s::bigint)", (job.msg_id,))
    writer.sql.execute("select superstoryboard.sweep()")
    (cancelled,) = writer.finished(job)
    assert cancelled.state == job_pb2.JOB_STATE_CANCELLED
    # As if a day had passed in which nobody started it again.
    writer.sql.execute(
        "update superstoryboard.jobs set ended_at = ended_at - interval '1 day' where id = %s", (job.id,)
    )
    aged = "update superstoryboard.artifacts set staged_at = staged_at - interval '1 day' where id = %s"
    writer.sql.execute(aged, (new.id,))
    writer.sql.execute("select superstoryboard.sweep()")
    start_writer(writer, CLEAN_AFTER_SECONDS="0.001")
    writer.wait_for_row("select 1 from superstoryboard.artifacts where id = %s and cleaned_at is not null", (new.id,))
    assert await stager.store.stat(STAGING_BUCKET, new.staging_key) is None
    assert await stager.store.stat(new.bucket, new.path) is None
