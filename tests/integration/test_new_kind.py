"""A kind of job that no module knows: a row, a record and a message type, and it runs from submit to stored asset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import JobFailure
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import Gate, WorkQueue
from superstoryboard.jobs.records import job_message
from superstoryboard.jobs.store import JobStore
from superstoryboard.media.verify import verify
from superstoryboard.process import checkpoints
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.storage.buckets import ensure_buckets
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.work_metrics import HintMetrics
from superstoryboard.v1.job_pb2 import Asset, JobState
from superstoryboard.worker.attempt.errors import StaleClaimError
from superstoryboard.worker.attempt.generation import Adoption
from superstoryboard.worker.attempt.handoff import HandOff, Result
from superstoryboard.worker.attempt.staging import Staging
from tests.emulators.storage_fixture import SECRET_KEY, STAGING_BUCKET, running_emulator
from tests.integration.helpers import (
    ENDING,
    IMAGE_QUEUE,
    KV,
    accept,
    claim_one,
    expire_lease,
    image_queue,
    intend,
    open_call,
    row,
    submission,
)
from tests.integration.kind_steps import ECHO, OWN_QUEUE, Place, add_kind, message_type, open_parts, process
from tests.integration.workers import write_all
from tests.unit.pictures import write_rgba
from tests.unit.test_media import film
from tests.waiting import wait_for

MODEL = """
[[models]]
name = "parrot"
kind = "echo"
provider = "google"
route = "gemini_image"
prompt_max_characters = 9
aspect_ratios = ["16:9"]
price = { unit = "image", usd = { 1K = "0.01" } }

[defaults]
echo = "parrot"
"""


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    """A Storage of the test's own."""
    with running_emulator(database_url, tmp_path / "state") as emulator:
        store = await ObjectStore.connect(url=emulator.url, key=SECRET_KEY, timeout_seconds=60)
        await ensure_buckets(store, STAGING_BUCKET)
        yield Place(database_url, store, emulator.url)
        await store.aclose()


async def fetched(asset: Asset) -> bytes:
    """The bytes under the URL that callers see."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(asset.url)).raise_for_status().content


async def stored(database: Database, job_id: UUID) -> tuple[str, bytes]:
    """Bucket and bytes of the asset, read under the URL that callers see."""
    record = await row(database, job_id)
    job = job_message(record)
    assert (record["state"], record["provider"], record["model"], job.kind) == ("SUCCEEDED", "", "", ECHO.number)
    assert job.asset.path.startswith(f"echo/{job_id}_")
    return job.asset.bucket, await fetched(job.asset)


async def test_it_has_a_queue_that_anyone_sends_to(
    database: Database,
    sql: psycopg.Connection,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = add_kind(sql, monkeypatch, sent_publicly=True)
    sql.execute("""select public.pgmq_send(%s, '{"spokenText": 8}')""", (OWN_QUEUE,))
    picture, heard = write_rgba(tmp_path / "picture", 8), list[Message]()
    assert await process(await open_parts(place, kind), [picture], heard)
    assert [str(each).strip() for each in heard] == ['spoken_text: "8"']
    await write_all(database, place.store, place.url)
    (job_id,) = sql.execute("select id from superstoryboard.jobs").fetchone() or ()
    assert await stored(database, job_id) == ("storyboard-images", picture.read_bytes())
    assert sql.execute("select count(*) from superstoryboard.provider_calls").fetchone() == (0,)


@pytest.fixture
def charged(
    database: Database, sql: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[WorkQueue, Adoption]:
    """What a worker of the kind reads its jobs with, where the kind has a model."""
    (tmp_path / "own.toml").write_text(MODEL)
    message = message_type(prompt="prompt", model="model", aspect_ratio="aspectRatio")
    add_kind(sql, monkeypatch, message=message, charged=True, sent_publicly=True)
    work = WorkQueue(database, OWN_QUEUE, [ECHO.name], "worker-1", Gate("google", "parrot"))
    return work, Adoption(work, Catalogue.load(tmp_path / "own.toml"), "parrot")


async def test_one_that_is_charged_has_a_model_of_the_catalogue(
    database: Database, sql: psycopg.Connection, charged: tuple[WorkQueue, Adoption]
) -> None:
    work, adoption = charged
    sql.execute("""select public.pgmq_send(%s, '{"prompt": "hello"}')""", (OWN_QUEUE,))
    job = await claim_one(work)
    frozen = {"prompt": "hello", "model": "parrot", "aspectRatio": "16:9"}
    assert MessageToDict(await adoption.generation(job, Message)) == frozen
    record = await row(database, job.id)
    assert (record["generation"], record["provider"], record["model"]) == (frozen, "google", "parrot")


async def test_one_that_is_charged_has_the_limits_of_its_model(
    sql: psycopg.Connection, charged: tuple[WorkQueue, Adoption]
) -> None:
    work, adoption = charged
    sql.execute("""select public.pgmq_send(%s, '{"prompt": "hello hello"}')""", (OWN_QUEUE,))
    with pytest.raises(JobFailure, match="prompt must be at most 9 characters"):
        await adoption.generation(await claim_one(work), Message)


async def test_it_shares_a_queue_and_passes_no_gate(
    database: Database,
    sql: psycopg.Connection,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its result is a video, from a queue of images: the bytes say so."""
    kind = add_kind(sql, monkeypatch, queue=IMAGE_QUEUE)
    sql.execute(
        "insert into superstoryboard.gates values ('google', 'm', 'infinity', 'closed'), ('', '', 'infinity', '')"
    )
    generation = {"spokenText": "hello"}
    asked = replace(submission(kind="echo", provider="", model=""), generation=generation)
    image, echo = await JobStore(database).accept([submission(), asked])
    video, heard = film(tmp_path / "video.mp4"), list[Message]()
    assert await process(await open_parts(place, kind), [video], heard)
    assert len(heard) == 1
    assert (await row(database, image.job_id))["state"] == "QUEUED", "its own gate is closed"
    await write_all(database, place.store, place.url)
    assert await stored(database, echo.job_id) == ("storyboard-videos", video.read_bytes())


async def test_workers_leave_jobs_of_kinds_that_they_do_not_serve_alone(
    database: Database, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting, and paid for by a worker that is gone."""
    add_kind(sql, monkeypatch, queue=IMAGE_QUEUE)
    asked = replace(submission(kind="echo", provider="", model=""), generation={"spokenText": "hello"})
    image, echo = await JobStore(database).accept([submission(), asked])
    images, echoes = image_queue(database), WorkQueue(database, IMAGE_QUEUE, ["echo"], "w", Gate("google", "m"))
    (held,) = await echoes.claim(5, 60)
    assert await intend(database, held) is not None
    sql.execute("update superstoryboard.turns set lease_until = now() where job = %s", (echo.job_id,))
    assert [job.id for job in await images.claim(5, 60)] == [image.job_id]
    assert await images.claim(5, 60) == []
    assert [job.id for job in await echoes.claim(5, 60)] == [echo.job_id]


async def test_a_message_sent_to_a_queue_of_several_kinds_is_of_the_public_one(
    database: Database, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_kind(sql, monkeypatch, queue=IMAGE_QUEUE)
    sql.execute("select public.pgmq_send(%s, '{}')", (IMAGE_QUEUE,))
    assert sql.execute("select kind from superstoryboard.jobs").fetchall() == [("image",)]
    assert {each["name"]: each["kind"] for each in await JobStore(database).queues()}[IMAGE_QUEUE] == "image"
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql.execute("update superstoryboard.job_kinds set sent_publicly = true")


SCENE = {"storyboardId": "board", "sceneId": "s1", "spokenText": "hello"}
SEVERAL = {"max_results": 3, "link": "echo"}


async def test_all_of_its_results_are_stored_before_the_job_ends(
    database: Database, sql: psycopg.Connection, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer is lost after each upload but the last, and what the broker delivers twice changes nothing."""
    kind = add_kind(sql, monkeypatch, **SEVERAL)
    sql.execute(f"insert into {KV} values ('scene:board:s1', '{{}}')")
    job_id = await accept(database, kind="echo", provider="", model="", generation=SCENE)
    sources = [write_rgba(tmp_path / "a", 8), write_rgba(tmp_path / "b", 9), film(tmp_path / "c.mp4")]
    assert await process(await open_parts(place, kind), sources, [])
    artifacts = Artifacts(database)
    waiting = await artifacts.claim(artifact_id=None, quantity=5, lease_seconds=0, min_age_seconds=0)
    for each in reversed(waiting):
        assert ((await row(database, job_id))["state"], links(sql)) == ("STAGED", {})
        await write_all(database, place.store, place.url, each.id)
        assert await artifacts.claim(artifact_id=each.id, quantity=1, lease_seconds=60, min_age_seconds=0) == []
        assert (await artifacts.finish(each.id, ENDING, url="again"))[1] is False
    job = job_message(await row(database, job_id))
    assert [await fetched(asset) for asset in job.assets] == [file.read_bytes() for file in sources]
    assert [asset.bucket for asset in job.assets] == ["storyboard-images", "storyboard-images", "storyboard-videos"]
    assert len({asset.path for asset in job.assets}) == 3
    assert (job.state, job.asset, list(job.warnings)) == (JobState.JOB_STATE_SUCCEEDED, job.assets[0], [])
    assert links(sql)["echoUrl"] == job.assets[0].url


async def test_a_worker_killed_between_two_results_pays_once(
    database: Database, sql: psycopg.Connection, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are results of one operation: whoever claims the job next polls that, and stages all of them anew."""
    add_kind(sql, monkeypatch, charged=True, **SEVERAL)
    job_id = await accept(database, kind="echo", generation=SCENE)
    work = WorkQueue(database, OWN_QUEUE, ["echo"], "worker-1", Gate("google", "m"))
    ledger, staging = Ledger(database), Staging(place.store, STAGING_BUCKET, 60)
    hand_off = HandOff(Artifacts(database), ledger, staging, None, HintMetrics(CollectorRegistry()))
    files = [write_rgba(tmp_path / "a", 8), write_rgba(tmp_path / "b", 9)]
    results = [Result(file, await verify(file)) for file in files]
    first = await claim_one(work)
    opened = await open_call(database, first)
    assert opened.call_id is not None
    await ledger.accept(opened.call_id, "operations/1")
    monkeypatch.setenv(checkpoints.VARIABLE, f"staged-bytes:{tmp_path / 'stopped'}")
    killed = asyncio.create_task(hand_off.hand_over(first, results))
    await asyncio.to_thread(wait_for, (tmp_path / "stopped").exists)
    killed.cancel()
    await expire_lease(database, OWN_QUEUE)
    again = await claim_one(work)
    assert (again.operation and again.operation.name, again.attempt, again.upload) == ("operations/1", 1, None)
    assert await hand_off.hand_over(again, results) == "STAGED"
    with pytest.raises(StaleClaimError):
        await hand_off.hand_over(first, results)
    await write_all(database, place.store, place.url)
    job = job_message(await row(database, job_id))
    assert [await fetched(asset) for asset in job.assets] == [file.read_bytes() for file in files]
    assert sql.execute("select state, paid from superstoryboard.provider_calls").fetchall() == [("SETTLED", True)]


def links(sql: psycopg.Connection) -> dict[str, str]:
    """What the scene shows."""
    row = sql.execute(f"select value from {KV} where key = 'scene:board:s1'").fetchone()
    assert row is not None
    return dict(row[0])
