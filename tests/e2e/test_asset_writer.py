"""The asset_writer against staged bytes that are wrong, gone or unwelcome (I3)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from uuid import UUID

import pytest
from PIL import Image

from devstack.postgres import Postgres
from superstoryboard.broker.artifacts import Broker
from superstoryboard.jobs.artifacts import ArtifactFacts, Artifacts, NewArtifact
from superstoryboard.jobs.database import Database
from superstoryboard.storage.buckets import ensure_buckets
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.v1 import job_pb2
from superstoryboard.v1.artifact_pb2 import ArtifactReady
from tests.conftest import TEMPLATE, admin
from tests.e2e.pipeline import Pipeline, pipeline
from tests.emulators.storage_fixture import SECRET_KEY, STAGING_BUCKET
from tests.integration.helpers import image_queue, intend

pytestmark = pytest.mark.timeout(90)


def encoded(kind: str = "PNG", colour: str = "teal") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (32, 18), colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def running(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, amqp_url: str) -> Iterator[Pipeline]:
    admin(postgres, f"create database writing template {TEMPLATE}")
    folder = tmp_path_factory.mktemp("writing")
    with pipeline(postgres.url_of("writing"), folder, amqp_url, start=("ingest",)) as started:
        yield started
    admin(postgres, "drop database writing with (force)")


class Stager:
    """Does a worker's part of the hand-off, with whatever bytes a test wants."""

    def __init__(self, running: Pipeline, database: Database, store: ObjectStore) -> None:
        self._running = running
        self._database = database
        self._artifacts = Artifacts(database)
        self.store = store

    async def stage(self, board: str, said: bytes, staged: bytes | None) -> tuple[job_pb2.Job, NewArtifact]:
        """Stage an artifact that is said to be these bytes while others (or none) lie in staging."""
        self._running.put(f"scene:{board}:s1", {"id": "s1"})
        job = self._running.image(board, scene_id="s1")
        (claimed,) = await image_queue(self._database).claim(1, 60)
        assert str(claimed.id) == job.id
        await intend(self._database, claimed)
        facts = ArtifactFacts("image/png", "png", len(said), hashlib.sha256(said).hexdigest(), 32, 18)
        new = await self._artifacts.begin(
            claimed, staging_bucket=STAGING_BUCKET, bucket="storyboard-images", path_prefix=f"{board}/s1", facts=facts
        )
        assert new is not None
        if staged is not None:
            await self.store.upload(STAGING_BUCKET, new.staging_key, staged, "application/octet-stream")
        assert await self._artifacts.stage(new.id, claimed) == "STAGED"
        return job, new


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
    ("said", "staged"),
    [
        (encoded(), None),
        (encoded(), encoded(colour="red")),
        (encoded(), encoded()[:-9]),
        (encoded(), encoded() + b"x"),
        (encoded("JPEG"), encoded("JPEG")),
        (b"no image at all", b"no image at all"),
    ],
    ids=["gone", "other bytes", "cut off", "longer", "another type", "unreadable"],
)
async def test_bytes_that_are_not_what_was_staged_send_the_job_back(
    writer: Pipeline, stager: Stager, request: pytest.FixtureRequest, said: bytes, staged: bytes | None
) -> None:
    board = "wrong-" + request.node.callspec.id.replace(" ", "-")
    job, new = await stager.stage(board, said, staged)
    start_writer(writer)
    back = writer.until(job, job_pb2.JOB_STATE_RETRYING)
    assert back.error.code == "STAGED_BYTES_LOST"
    assert "imageUrl" not in writer.kv(f"scene:{board}:s1")
    assert await stager.store.stat(new.bucket, new.path) is None
    writer.sql.execute("select pgmq.archive('image_generation_queue', %s::bigint)", (job.msg_id,))


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
        found = writer.sql.execute(f"select count(*) from {table} where msg_id = %s", (job.msg_id,)).fetchone()
        assert found == (0,)


async def test_deliveries_that_come_twice_or_late_link_once(writer: Pipeline, stager: Stager, amqp_url: str) -> None:
    job, new = await stager.stage("doubled", encoded(), encoded())
    broker = Broker(amqp_url, "test")
    await broker.connect()
    ready = ArtifactReady(job_id=job.id, artifact_id=str(new.id))
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
