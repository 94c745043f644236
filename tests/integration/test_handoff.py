"""Paid bytes in a worker's hands while what surrounds them does not work."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from superstoryboard.db.database import Database
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.storage.buckets import ensure_buckets
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.work_metrics import HintMetrics
from superstoryboard.worker.attempt.errors import StaleClaimError, WaitsError
from superstoryboard.worker.attempt.handoff import HandOff, Result
from superstoryboard.worker.attempt.intent import Intent
from superstoryboard.worker.attempt.staging import Staging
from tests.conformance.http_stub import Answer, serve
from tests.emulators.storage_fixture import SECRET_KEY, STAGING_BUCKET, running_emulator
from tests.integration.helpers import (
    FACTS,
    IMAGE_QUEUE,
    accept,
    claim_one,
    expire_lease,
    image_queue,
    intend,
    open_call,
    row,
)
from tests.unit.pictures import png

REFUSES = """
create or replace function superstoryboard.settle_call_v1(p_call bigint, p_paid boolean, p_error jsonb) returns boolean
language plpgsql as $$ begin raise exception 'this installation was changed by hand'; end $$
"""
TAKEN = Answer(body=b'{"Id": "1", "Key": "artifact-staging/1"}')
PICTURE = png(1, 1, b"\0" + b"\x10\x20\x30\xff")
PICTURE_FACTS = replace(FACTS, size_bytes=len(PICTURE), sha256=hashlib.sha256(PICTURE).hexdigest(), width=1, height=1)


def hand_off_by(database: Database, store: ObjectStore) -> HandOff:
    staging = Staging(store, STAGING_BUCKET, 60)
    return HandOff(Artifacts(database), Ledger(database), staging, None, HintMetrics(CollectorRegistry()))


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """Storage with its buckets."""
    with running_emulator(database_url, tmp_path / "state") as emulator:
        opened = await ObjectStore.connect(url=emulator.url, key=SECRET_KEY, timeout_seconds=60)
        await ensure_buckets(opened, STAGING_BUCKET)
        yield opened
        await opened.aclose()


@pytest.mark.parametrize("fault", ["the database refuses", "a bug"])
async def test_paid_bytes_are_kept_where_storage_and_then_the_record_of_it_fail(
    database: Database, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    opened = await open_call(database, job)
    assert opened.call_id is not None
    if fault == "a bug":
        monkeypatch.delattr(Ledger, "settle_paid")
    else:
        sql.execute(REFUSES)
    async with serve() as storage:
        store = await ObjectStore.connect(url=storage.url, key="staging-key", timeout_seconds=60)
        path = f"/storage/v1/object/{STAGING_BUCKET}/{opened.staging_key}"
        storage.queued[path] = [Answer(503)]
        storage.answers[path] = TAKEN
        intent = Intent(opened.call_id, opened.staging_key)
        assert await hand_off_by(database, store).hand_over_answer(job, intent, b"paid", FACTS) == "STAGED"
        assert len(storage.asked) == 2
        await store.aclose()
    assert (await row(database, job_id))["state"] == "STAGED"


async def test_a_job_that_went_to_another_during_the_upload_is_not_given_away(
    database: Database, tmp_path: Path
) -> None:
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    file = tmp_path / "fetched"
    file.write_bytes(PICTURE)
    async with serve() as storage:
        store = await ObjectStore.connect(url=storage.url, key="staging-key", timeout_seconds=60)
        handing = asyncio.create_task(hand_off_by(database, store).hand_over(job, [Result(file, PICTURE_FACTS)]))
        await storage.wait_asked(1)
        await expire_lease(database, IMAGE_QUEUE)
        again = await claim_one(image_queue(database, "another"))
        storage.answers[storage.asked[0].target] = TAKEN
        with pytest.raises(StaleClaimError):
            await handing
        await store.aclose()
    record = await row(database, job_id)
    assert (record["state"], record["claim"]) == ("RUNNING", again.claim)


async def left_behind(database: Database, store: ObjectStore, body: bytes, *, began: bool) -> ClaimedJob:
    """The claim after one whose worker stopped with this in staging; `began`: and after it had told what it staged."""
    job = await claim_one(image_queue(database))
    opened = await open_call(database, job)
    if began:
        (new,) = await Artifacts(database).begin(job, staging_bucket=STAGING_BUCKET, results=[PICTURE_FACTS])
        assert new.staging_key == opened.staging_key
    await store.upload(STAGING_BUCKET, opened.staging_key, body, "application/octet-stream")
    await expire_lease(database, IMAGE_QUEUE)
    return await claim_one(image_queue(database, "another"))


@pytest.mark.parametrize("began", [True, False])
async def test_what_an_earlier_claim_left_in_staging_is_handed_over(
    database: Database, store: ObjectStore, began: bool
) -> None:
    job_id = await accept(database)
    again = await left_behind(database, store, PICTURE, began=began)
    assert again.upload is not None
    assert await hand_off_by(database, store).rescue(again, again.upload) == "STAGED"
    assert (await row(database, job_id))["state"] == "STAGED"


@pytest.mark.parametrize(
    ("body", "began"),
    [(png(1, 1, b"\0" + b"\xff\x20\x30\xff"), True), (PICTURE[:-20], False), (b"<html>", False)],
    ids=["another picture", "a damaged picture", "no picture"],
)
async def test_what_is_not_the_answer_of_the_call_is_neither_used_nor_called_for_again_at_once(
    database: Database, store: ObjectStore, body: bytes, began: bool
) -> None:
    job_id = await accept(database)
    again = await left_behind(database, store, body, began=began)
    assert again.upload is not None
    with pytest.raises(WaitsError) as caught:
        await hand_off_by(database, store).rescue(again, again.upload)
    assert caught.value.error.code == "CALL_INTERRUPTED"
    assert caught.value.delay_seconds > 0
    assert (await row(database, job_id))["state"] == "RUNNING"
    assert await intend(database, again) is None, "no second call while the first may be found"
