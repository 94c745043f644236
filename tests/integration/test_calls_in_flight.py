"""A worker that has to leave its job while Google holds the answer of a paid call: what it paid for is kept (I2)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from uuid import UUID

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from superstoryboard.db.database import Database
from superstoryboard.jobs.queue import WorkQueue
from superstoryboard.jobs.steering import Steering
from superstoryboard.providers.google.gemini_images import GeminiImages
from superstoryboard.worker.attempts import Attempt
from superstoryboard.worker.loop import Limits, Worker
from tests.conformance.http_stub import Answer, serve
from tests.emulators.google_fixture import IMAGE_MODEL, KEY, VIDEO_MODEL, GoogleEmulator, report, script
from tests.integration.helpers import accept, claim_one, expire_lease, image_queue, video_queue
from tests.integration.route_steps import GEMINI, routes_with
from tests.integration.workers import BUCKET, image_worker, video_worker
from tests.waiting import awaited

NO_DRAIN = Limits(concurrency=1, lease_seconds=60, drain_seconds=0, retry_delay_seconds=30)
PUT_OFF = "Stop requested during a paid call; the call continues to its end"
CALLS = "select state, operation_name from superstoryboard.provider_calls"
WAYS = ("the lease is lost", "the drain ends", "the owner cancels")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleEmulator]:
    with GoogleEmulator(tmp_path_factory.mktemp("google")).running() as running:
        yield running


@pytest.fixture
def google(emulator: GoogleEmulator) -> Iterator[httpx.Client]:
    """The emulator, with nothing recorded."""
    with emulator.client() as client:
        client.post("/_emulator/reset").raise_for_status()
        yield client


async def asked_to_leave(way: str, worker: Worker, other: WorkQueue, job_id: UUID, database: Database) -> None:
    """Cause what cancels an attempt; a drain is left to itself."""
    if way == "the drain ends":
        await worker.drain()
        return
    if way == "the owner cancels":
        await Steering(database).cancel(job_id, owner=None, actor="alice")
    else:
        await expire_lease(database, other.queue)
        await claim_one(other)
    await worker.leases.beat()


async def in_flight(worker: Worker, on: str, google: httpx.Client) -> asyncio.Task[list[Attempt]]:
    """One attempt, whose paid call Google has accepted and does not answer."""
    script(google, {"on": on, "hold": True})
    processing = asyncio.create_task(worker.process(1, force=False))
    await awaited(lambda: asyncio.to_thread(report, google), lambda told: bool(told["held"]), beside=processing)
    return processing


async def left(
    processing: asyncio.Task[list[Attempt]], leaving: Coroutine[None, None, None], google: httpx.Client
) -> Attempt:
    """How the attempt ended whose worker was asked to leave it before Google answered."""
    with capture_logs() as logs:
        asked = asyncio.create_task(leaving)
        while not processing.done() and PUT_OFF not in [entry["event"] for entry in logs]:
            await asyncio.wait({processing}, timeout=0.01)
    await asyncio.to_thread(google.post, "/_emulator/release")
    (attempt,) = await processing
    await asked
    return attempt


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """Calls by outcome, by the worker's own metric."""
    return {
        sample.labels["outcome"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "superstoryboard_provider_calls_total"
    }


@pytest.mark.parametrize("way", WAYS)
async def test_the_name_of_a_submit_in_flight_is_kept(
    database: Database, sql: psycopg.Connection, google: httpx.Client, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    asked = {"model": VIDEO_MODEL, "aspectRatio": "16:9", "durationSeconds": "8", "resolution": "720p"}
    job_id = await accept(database, kind="video", model=VIDEO_MODEL, generation=asked)
    registry, other = CollectorRegistry(), video_queue(database, "other")
    routes = routes_with(str(google.base_url).rstrip("/"), monkeypatch, GEMINI)
    async with video_worker(database, routes, registry, NO_DRAIN) as worker:
        processing = await in_flight(worker, "submit", google)
        attempt = await left(processing, asked_to_leave(way, worker, other, job_id, database), google)
    told = await asyncio.to_thread(report, google)
    assert sql.execute(CALLS).fetchall() == [("ACCEPTED", told["requests"][0]["operation"])]
    assert (told["accepted"], counted(registry)) == ({"image": 0, "video": 1}, {"ACCEPTED": 1.0})
    assert attempt.state == ("QUEUED" if way == "the drain ends" else None)


@pytest.mark.parametrize("way", WAYS)
async def test_the_answer_of_an_image_call_in_flight_is_kept(
    database: Database, sql: psycopg.Connection, google: httpx.Client, emulator: GoogleEmulator, way: str
) -> None:
    job_id = await accept(database, model=IMAGE_MODEL, generation={"model": IMAGE_MODEL})
    registry, other = CollectorRegistry(), image_queue(database, "other")
    async with serve() as storage:
        provider = GeminiImages(api_key=KEY, base_url=emulator.url)
        async with image_worker(database, provider, storage.url, registry, NO_DRAIN) as worker:
            processing = await in_flight(worker, "image", google)
            ((key,),) = sql.execute("select staging_key from superstoryboard.artifacts").fetchall()
            storage.answers[f"/storage/v1/object/{BUCKET}/{key}"] = Answer(body=b'{"Id": "1", "Key": "1"}')
            await left(processing, asked_to_leave(way, worker, other, job_id, database), google)
    told = await asyncio.to_thread(report, google)
    kept = "select a.state, c.state, c.paid from superstoryboard.artifacts a"
    kept += " join superstoryboard.provider_calls c on c.id = a.call_id"
    assert sql.execute(kept).fetchall() == [("STAGED", "SETTLED", True)]
    assert (told["accepted"], counted(registry)) == ({"image": 1, "video": 0}, {"ACCEPTED": 1.0})
