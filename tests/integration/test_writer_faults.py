"""What an asset_writer does about its own faults and about its end, on the real database and Storage (C3, I1)."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import httpx
import psycopg
import pytest

from devstack.stack.ports import free_port
from services.asset_writer import clean, wiring
from services.asset_writer.clean import Cleaner
from services.asset_writer.consume import Consumer
from services.asset_writer.endings import Endings, Patience
from services.asset_writer.status import WriterStatus
from services.asset_writer.wiring import Buckets
from services.asset_writer.write import ArtifactWriter, Destination
from superstoryboard.db.database import Database
from superstoryboard.db.notify import ARTIFACTS_CHANNEL, Wakeups
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.cleanups import Cleanups
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.server import Server
from superstoryboard.storage.buckets import FINAL_BUCKETS, ensure_buckets
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.metrics import RpcMetrics
from superstoryboard.telemetry.work_metrics import WriterMetrics
from superstoryboard.v1 import worker_service_pb2 as api
from superstoryboard.v1.worker_service_pb2_grpc import WorkerServiceStub, add_WorkerServiceServicer_to_server
from tests.emulators.storage_fixture import SECRET_KEY, STAGING_BUCKET, running_emulator
from tests.integration.helpers import ENDING, FACTS, KV, accept, claim_one, image_queue, row
from tests.logs import awaited_logs
from tests.unit.pictures import png
from tests.waiting import awaited

PICTURE = png(1, 1, b"\0" + b"\x10\x20\x30\xff")


@pytest.fixture
async def storage(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[ObjectStore, httpx.AsyncClient]]:
    """Storage with its buckets, and its remote control."""
    with running_emulator(database_url, tmp_path / "state") as emulator:
        store = await ObjectStore.connect(url=emulator.url, key=SECRET_KEY, timeout_seconds=60)
        await ensure_buckets(store, STAGING_BUCKET)
        async with httpx.AsyncClient(base_url=f"{emulator.url}/_emulator", timeout=60) as control:
            yield store, control
        await store.aclose()


@pytest.fixture
def store(storage: tuple[ObjectStore, httpx.AsyncClient]) -> ObjectStore:
    return storage[0]


@pytest.fixture
def control(storage: tuple[ObjectStore, httpx.AsyncClient]) -> httpx.AsyncClient:
    return storage[1]


async def staged(database: Database, store: ObjectStore) -> UUID:
    """A job whose picture lies in staging; answers its id."""
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    facts = replace(FACTS, size_bytes=len(PICTURE), sha256=hashlib.sha256(PICTURE).hexdigest(), width=1, height=1)
    (new,) = await Artifacts(database).begin(job, staging_bucket=STAGING_BUCKET, results=[facts])
    assert new is not None
    await store.upload(STAGING_BUCKET, new.staging_key, PICTURE, "application/octet-stream")
    assert await Artifacts(database).stage([new.id], job) == "STAGED"
    return job_id


def consumer(database: Database, store: ObjectStore) -> Consumer:
    artifacts, metrics = Artifacts(database), WriterMetrics()
    endings = Endings(artifacts, ENDING, Patience(refusals=2))
    destination = Destination("http://storage", ENDING)
    return Consumer(
        artifacts=artifacts,
        writer=ArtifactWriter(artifacts, store, destination, endings, lease_seconds=60, metrics=metrics),
        wakeups=Wakeups(None, ARTIFACTS_CHANNEL),
        broker=None,
        metrics=metrics,
        concurrency=2,
        lease_seconds=60,
        poll_seconds=0.05,
    )


async def written_once(database: Database, store: ObjectStore) -> None:
    """Take what is due, and no more, and see it to its end."""
    one = consumer(database, store)
    task = await one._take(None, 0.0)
    assert task is not None
    await task


async def held(control: httpx.AsyncClient) -> None:
    """Wait until Storage holds a request."""
    async with asyncio.timeout(60):
        while not (await control.get("/requests")).json()["held"]:  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(0.02)


@asynccontextmanager
async def served(one: Consumer) -> AsyncIterator[Any]:
    """GetStatus of the service, over gRPC."""
    address = f"127.0.0.1:{free_port()}"
    server = Server(address, Authenticator([]), RpcMetrics())
    status = WriterStatus(one, "asset-writer-1", 2)
    server.add("superstoryboard.v1.WorkerService", add_WorkerServiceServicer_to_server, status)
    await server.start(reflect=False)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield WorkerServiceStub(channel)
    finally:
        await server.stop(0)


def due(sql: psycopg.Connection) -> None:
    sql.execute("update superstoryboard.artifacts set lease_until = null")


async def error_of(database: Database, job_id: UUID) -> tuple[str, str, str]:
    """State, class and code."""
    record = await row(database, job_id)
    return record["state"], record["error"]["class"], record["error"]["code"]


async def test_a_table_that_is_missing_is_waited_for(
    database: Database, sql: psycopg.Connection, store: ObjectStore
) -> None:
    job_id = await staged(database, store)
    sql.execute(f"alter table public.{KV} rename to elsewhere")
    await written_once(database, store)
    assert await error_of(database, job_id) == ("STAGED", "CONFIG", "KV_TABLE_UNUSABLE")
    sql.execute(f"alter table public.elsewhere rename to {KV}")
    due(sql)
    await written_once(database, store)
    assert (await row(database, job_id))["state"] == "SUCCEEDED"


async def test_a_disk_without_room_is_waited_for(
    database: Database, sql: psycopg.Connection, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await staged(database, store)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
        await written_once(database, store)
    assert await error_of(database, job_id) == ("STAGED", "UNAVAILABLE_DEPENDENCY", "WRITER_DISK_ERROR")
    due(sql)
    await written_once(database, store)
    assert (await row(database, job_id))["state"] == "SUCCEEDED"


async def test_a_fault_of_the_writer_itself_is_counted_and_ends_with_the_artifact_kept(
    database: Database, sql: psycopg.Connection, store: ObjectStore
) -> None:
    job_id, endings = await staged(database, store), Endings(Artifacts(database), ENDING, Patience(refusals=2))
    for outcome in ("postponed", "buried"):
        due(sql)
        (artifact,) = await Artifacts(database).claim(artifact_id=None, quantity=1, lease_seconds=60, min_age_seconds=0)
        assert await endings.failed(artifact, ZeroDivisionError(), uploaded=False) == outcome
    assert await error_of(database, job_id) == ("DEAD_LETTERED", "TRANSIENT", "WRITE_FAILED")
    assert await store.stat(STAGING_BUCKET, artifact.staging_key) is not None


async def test_a_result_that_cannot_be_recorded_is_written_again_when_its_lease_ends(
    database: Database, sql: psycopg.Connection, store: ObjectStore, control: httpx.AsyncClient
) -> None:
    job_id = await staged(database, store)
    (await control.post("/script", json={"on": "upload", "status": 500})).raise_for_status()
    sql.execute("alter function superstoryboard.postpone_artifact_v1 rename to postpone_later")
    await written_once(database, store)
    assert (await row(database, job_id))["state"] == "STAGED"
    sql.execute("alter function superstoryboard.postpone_later rename to postpone_artifact_v1")
    due(sql)
    await written_once(database, store)
    assert (await row(database, job_id))["state"] == "SUCCEEDED"


async def test_a_staged_object_that_cannot_be_removed_spoils_nothing(
    database: Database, store: ObjectStore, control: httpx.AsyncClient
) -> None:
    job_id = await staged(database, store)
    (await control.post("/script", json={"on": "remove", "status": 500, "times": 100})).raise_for_status()
    await written_once(database, store)
    assert (await row(database, job_id))["state"] == "SUCCEEDED"


async def test_bytes_that_are_not_what_the_worker_staged_are_read_again_and_never_stored(
    database: Database, sql: psycopg.Connection, store: ObjectStore
) -> None:
    job_id = await staged(database, store)
    (key,) = sql.execute("select staging_key from superstoryboard.artifacts").fetchone() or ("",)
    await store.upload(STAGING_BUCKET, key, PICTURE[::-1], "application/octet-stream")
    await written_once(database, store)
    record = await row(database, job_id)
    assert (record["state"], record["error"]["code"]) == ("STAGED", "STAGED_BYTES_UNVERIFIED")
    assert "the hash of the staged object differs" in record["error"]["message"]
    await store.upload(STAGING_BUCKET, key, PICTURE, "application/octet-stream")
    due(sql)
    await written_once(database, store)
    assert (await row(database, job_id))["state"] == "SUCCEEDED"


async def test_a_staged_object_that_could_not_be_removed_is_removed_later(
    database: Database,
    sql: psycopg.Connection,
    store: ObjectStore,
    control: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clean, "IDLE_SECONDS", 0.02)
    await staged(database, store)
    (key,) = sql.execute("select staging_key from superstoryboard.artifacts").fetchone() or ("",)
    (await control.post("/script", json={"on": "remove", "status": 500, "times": 2})).raise_for_status()
    await written_once(database, store)
    with awaited_logs() as lines:
        cleaning = asyncio.create_task(Cleaner(Cleanups(database), store, 0.0, WriterMetrics()).run())
        assert (await lines.first())["event"] == "Cleanup is postponed"
    due(sql)

    async def there() -> object:
        return await store.stat(STAGING_BUCKET, key)

    await awaited(there, lambda entry: entry is None, beside=cleaning)
    cleaning.cancel()


async def test_a_writer_that_starts_before_storage_makes_its_buckets_later(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "BUCKET_RETRY_SECONDS", 0.02)
    port = free_port()
    store = await ObjectStore.connect(url=f"http://127.0.0.1:{port}", key=SECRET_KEY, timeout_seconds=60)
    buckets = Buckets(store, STAGING_BUCKET, FINAL_BUCKETS)
    with awaited_logs() as lines:
        ensuring = asyncio.create_task(buckets.ensure())
        assert (await lines.first())["event"] == "Buckets cannot be checked yet; retrying"
    before = buckets.ready
    with running_emulator(database_url, tmp_path / "late", "--port", str(port)):
        await ensuring
        assert (before, buckets.ready) == (False, True)
        await store.upload(STAGING_BUCKET, "a", PICTURE, "application/octet-stream")
        assert await store.stat(STAGING_BUCKET, "a") is not None
        await store.aclose()


async def test_a_writer_that_stops_gives_its_artifact_to_the_next_at_once(
    database: Database, store: ObjectStore, control: httpx.AsyncClient
) -> None:
    job_id = await staged(database, store)
    (await control.post("/script", json={"on": "download", "hold": True})).raise_for_status()
    stopping = consumer(database, store)
    async with served(stopping) as stub:
        polling = asyncio.create_task(stopping.poll())
        await held(control)
        before = await stub.GetStatus(api.GetStatusRequest())
        assert (before.worker_id, before.concurrency, before.draining) == ("asset-writer-1", 2, False)
        await stopping.stop(0)
        await polling
        assert (await stub.GetStatus(api.GetStatusRequest())).draining
    (await control.post("/release")).raise_for_status()
    await written_once(database, store)
    assert (await row(database, job_id))["state"] == "SUCCEEDED"
