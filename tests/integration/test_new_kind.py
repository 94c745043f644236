"""A kind of job that no module knows: a row, a record and a message type, and it runs from submit to stored asset."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
import psycopg
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry

from superstoryboard.db.database import Database
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.domain.errors import JobFailure
from superstoryboard.domain.kinds import KINDS, Kind
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import ClaimedJob, Gate, WorkQueue
from superstoryboard.jobs.records import job_message
from superstoryboard.jobs.store import JobStore
from superstoryboard.media.verify import verify
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.storage.buckets import ensure_buckets
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.work_metrics import HintMetrics
from superstoryboard.v1.job_pb2 import JobKind
from superstoryboard.worker.attempt.generation import Adoption
from superstoryboard.worker.attempt.handoff import HandOff, Result
from superstoryboard.worker.attempt.staging import Staging
from superstoryboard.worker.loop import Limits, Worker
from tests.emulators.storage_fixture import SECRET_KEY, STAGING_BUCKET, running_emulator
from tests.integration.helpers import IMAGE_QUEUE, claim_one, image_queue, intend, row, submission
from tests.integration.workers import write_all
from tests.unit.pictures import write_rgba
from tests.unit.test_media import film

LIMITS = Limits(concurrency=1, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)
OWN_QUEUE = "echo_queue"
ROW = "insert into superstoryboard.job_kinds (name, queue, sent_publicly) values ('echo', %s, %s)"


def message_type(**fields: str) -> type[Message]:
    """What a job of the kind asks for: some texts, by the name that they have in JSON."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/echo.proto", package="tests.echo", syntax="proto3")
    message = file.message_type.add(name="Echo")
    for number, (name, json_name) in enumerate(fields.items(), 1):
        text = message.field.add(name=name, number=number, json_name=json_name)
        text.type = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
        text.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.echo.Echo"))


ECHO = Kind(name="echo", number=cast("JobKind", 4711), queue=OWN_QUEUE, message=message_type(spoken_text="spokenText"))
"""It has no storyboard, scene, character or model."""
CHARGED = replace(
    ECHO,
    message=message_type(prompt="prompt", model="model", aspect_ratio="aspectRatio"),
    charged=True,
    sent_publicly=True,
)
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
async def storage(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[ObjectStore, str]]:
    """Storage with its buckets, and its URL."""
    with running_emulator(database_url, tmp_path / "state") as emulator:
        store = await ObjectStore.connect(url=emulator.url, key=SECRET_KEY, timeout_seconds=60)
        await ensure_buckets(store, STAGING_BUCKET)
        yield store, emulator.url
        await store.aclose()


def echo_worker(database: Database, store: ObjectStore, queue: str, result: Path, heard: list[Message]) -> Worker:
    """The loop, the hand-off and what reads a job are the product's; only what the kind makes is of this test."""
    work = WorkQueue(database, queue, [ECHO.name], "worker-1", Gate("google", "m"))
    adoption = Adoption(work, Catalogue.load(), "")
    staging = Staging(store, STAGING_BUCKET, 60)
    hand_off = HandOff(Artifacts(database), Ledger(database), staging, None, HintMetrics(CollectorRegistry()))

    async def generate(job: ClaimedJob) -> str:
        asked = await adoption.generation(job, Message)
        heard.append(asked)
        return await hand_off.hand_over(job, [Result(result, await verify(result))])

    return Worker(work, generate, Wakeups(None, QUEUE_CHANNEL), LIMITS)


async def stored(database: Database, job_id: UUID) -> tuple[str, bytes]:
    """Bucket and bytes of the asset, read under the URL that callers see."""
    record = await row(database, job_id)
    job = job_message(record)
    assert (record["state"], record["provider"], record["model"], job.kind) == ("SUCCEEDED", "", "", ECHO.number)
    assert job.asset.path.startswith(f"echo/{job_id}_")
    async with httpx.AsyncClient(trust_env=False) as client:
        return job.asset.bucket, (await client.get(job.asset.url)).raise_for_status().content


async def test_it_has_a_queue_that_anyone_sends_to(
    database: Database,
    sql: psycopg.Connection,
    storage: tuple[ObjectStore, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(KINDS, "echo", replace(ECHO, sent_publicly=True))
    sql.execute("select pgmq.create(%s)", (OWN_QUEUE,))
    sql.execute("insert into superstoryboard.queues (name) values (%s)", (OWN_QUEUE,))
    sql.execute(ROW, (OWN_QUEUE, True))
    sql.execute("""select public.pgmq_send(%s, '{"spokenText": 8}')""", (OWN_QUEUE,))
    picture, heard = write_rgba(tmp_path / "picture", 8), list[Message]()
    (attempt,) = await echo_worker(database, storage[0], OWN_QUEUE, picture, heard).process(5, force=False)
    assert (attempt.state, [str(each).strip() for each in heard]) == ("STAGED", ['spoken_text: "8"'])
    await write_all(database, *storage)
    assert await stored(database, attempt.job.id) == ("storyboard-images", picture.read_bytes())
    assert sql.execute("select count(*) from superstoryboard.provider_calls").fetchone() == (0,)


@pytest.fixture
def charged(
    database: Database, sql: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[WorkQueue, Adoption]:
    """What a worker of the kind reads its jobs with, where the kind has a model."""
    (tmp_path / "own.toml").write_text(MODEL)
    monkeypatch.setitem(KINDS, "echo", CHARGED)
    sql.execute("select pgmq.create(%s)", (OWN_QUEUE,))
    sql.execute("insert into superstoryboard.queues (name) values (%s)", (OWN_QUEUE,))
    sql.execute(ROW, (OWN_QUEUE, True))
    sql.execute("update superstoryboard.job_kinds set charged = true where name = 'echo'")
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
    storage: tuple[ObjectStore, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its result is a video, from a queue of images: the bytes say so."""
    monkeypatch.setitem(KINDS, "echo", replace(ECHO, queue=IMAGE_QUEUE))
    sql.execute(ROW, (IMAGE_QUEUE, False))
    sql.execute("insert into superstoryboard.gates values ('google', 'm', 'infinity', 'closed')")
    generation = {"spokenText": "hello"}
    asked = replace(submission(kind="echo", provider="", model=""), generation=generation)
    image, echo = await JobStore(database).accept([submission(), asked])
    video, heard = film(tmp_path / "video.mp4"), list[Message]()
    attempts = await echo_worker(database, storage[0], IMAGE_QUEUE, video, heard).process(5, force=False)
    assert [(each.job.id, each.job.kind, each.state) for each in attempts] == [(echo.job_id, "echo", "STAGED")]
    assert (await row(database, image.job_id))["state"] == "QUEUED", "its own gate is closed"
    await write_all(database, *storage)
    assert await stored(database, echo.job_id) == ("storyboard-videos", video.read_bytes())


async def test_workers_leave_jobs_of_kinds_that_they_do_not_serve_alone(
    database: Database, sql: psycopg.Connection
) -> None:
    """Waiting, and paid for by a worker that is gone."""
    sql.execute(ROW, (IMAGE_QUEUE, False))
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
    database: Database, sql: psycopg.Connection
) -> None:
    sql.execute(ROW, (IMAGE_QUEUE, False))
    sql.execute("select public.pgmq_send(%s, '{}')", (IMAGE_QUEUE,))
    assert sql.execute("select kind from superstoryboard.jobs").fetchall() == [("image",)]
    assert {each["name"]: each["kind"] for each in await JobStore(database).queues()}[IMAGE_QUEUE] == "image"
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql.execute("update superstoryboard.job_kinds set sent_publicly = true")
