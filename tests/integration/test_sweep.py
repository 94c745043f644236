"""The sweep's duties beyond removed and unknown messages; objects to remove; waking workers by SQL."""

from __future__ import annotations

import asyncio
from uuid import UUID

import psycopg
import pytest

from superstoryboard.jobs.cleanups import Cleanups
from superstoryboard.jobs.database import Database
from superstoryboard.jobs.errors import ErrorClass, JobError
from superstoryboard.jobs.store import JobStore
from superstoryboard.queue.wakeups import QUEUE_CHANNEL
from tests.integration.helpers import (
    IMAGE_QUEUE,
    accept,
    begin,
    claim_one,
    expire_lease,
    finish,
    image_queue,
    row,
    stage,
)


async def sweep(database: Database) -> dict[str, int]:
    return {duty["duty"]: duty["changed"] for duty in await JobStore(database).sweep() if duty["changed"]}


def age(sql: psycopg.Connection, job_id: UUID, interval: str) -> None:
    """Make a job older, its message with it."""
    sql.execute(
        "update pgmq.q_image_generation_queue set enqueued_at = enqueued_at - %s::interval where msg_id ="
        " (select msg_id from superstoryboard.jobs where id = %s)",
        (interval, job_id),
    )
    sql.execute(
        "update superstoryboard.jobs set enqueued_at = enqueued_at - %(i)s::interval,"
        " scheduled_at = scheduled_at - %(i)s::interval,"
        " ended_at = ended_at - %(i)s::interval where id = %(id)s",
        {"i": interval, "id": job_id},
    )


async def test_a_job_that_nothing_ends_becomes_a_dead_letter(database: Database, sql: psycopg.Connection) -> None:
    old, young, held, scheduled = [await accept(database, delay_seconds=60 if n == 3 else 0) for n in range(4)]
    sql.execute(
        "update superstoryboard.turns set ready = false, due_at = null, claim = 0,"
        " lease_until = now() + interval '60 s' where job = %s",
        (held,),
    )
    for job_id in (old, held, scheduled):
        age(sql, job_id, "8 days")
    assert await sweep(database) == {"bury_overdue": 1}
    buried = await row(database, old)
    assert (buried["state"], buried["error"]["code"]) == ("DEAD_LETTERED", "MAX_AGE")
    assert [(await row(database, job_id))["state"] for job_id in (young, held, scheduled)] == ["QUEUED"] * 3


async def test_a_job_claimed_without_end_becomes_a_dead_letter(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    sql.execute("update superstoryboard.jobs set claim = 1001")
    assert await sweep(database) == {"bury_overdue": 1}
    assert (await row(database, job_id))["state"] == "DEAD_LETTERED"


async def test_uploads_without_a_worker_are_discarded(database: Database, sql: psycopg.Connection) -> None:
    await accept(database)
    lost = await begin(database, await claim_one(image_queue(database)))
    await expire_lease(database, IMAGE_QUEUE)
    again = await claim_one(image_queue(database, "next"))
    assert await sweep(database) == {}
    sql.execute("update superstoryboard.artifacts set created_at = created_at - interval '2 hours'")
    assert await sweep(database) == {"discard_uploads": 1}
    assert again.upload is not None
    assert again.upload.artifact_id == lost.id
    kept = await begin(database, again)
    sql.execute("update superstoryboard.artifacts set created_at = created_at - interval '2 hours'")
    assert await sweep(database) == {}, "an upload whose worker holds the job goes on"
    states = sql.execute("select id, state from superstoryboard.artifacts order by created_at, id").fetchall()
    assert dict(states) == {lost.id: "DISCARDED", kept.id: "UPLOADING"}


async def test_history_goes_after_its_time_and_dead_letters_stay(database: Database, sql: psycopg.Connection) -> None:
    done, dead, young = [await accept(database) for _ in range(3)]
    work = image_queue(database)
    await finish(database, await stage(database, await claim_one(work)))
    await work.bury(await claim_one(work), JobError(ErrorClass.UNKNOWN_OUTCOME, "CODE", "m"))
    await finish(database, await stage(database, await claim_one(work)))
    for job_id in (done, dead):
        age(sql, job_id, "401 days")
    sql.execute("update superstoryboard.job_events set created_at = created_at - interval '31 days'")
    swept = await sweep(database)
    assert swept["delete_jobs"] == 1
    assert swept["delete_events"] > 0
    left = sql.execute("select id from superstoryboard.jobs").fetchall()
    assert {found[0] for found in left} == {dead, young}
    assert sql.execute("select count(*) from superstoryboard.job_events where job_id = %s", (young,)).fetchone() != (0,)


async def test_objects_of_ended_artifacts_are_handed_out_once_and_only_after_their_time(
    database: Database, sql: psycopg.Connection
) -> None:
    await accept(database)
    written = await stage(database, await claim_one(image_queue(database)))
    await finish(database, written)
    await accept(database)
    discarded = await stage(database, await claim_one(image_queue(database)))
    sql.execute("select pgmq.purge_queue('image_generation_queue')")
    await sweep(database)
    cleanups = Cleanups(database)
    assert await cleanups.claim(older_than_seconds=60, limit=10) == []
    batches = await asyncio.gather(*(cleanups.claim(older_than_seconds=0, limit=1) for _ in range(6)))
    claimed = {cleanup.id: cleanup for batch in batches for cleanup in batch}
    assert sum(len(batch) for batch in batches) == len(claimed) == 2
    assert len(claimed[written].objects()) == 1
    assert [bucket for bucket, _ in claimed[discarded].objects()] == ["artifact-staging", "storyboard-images"]
    await cleanups.end(list(claimed.values()))
    sql.execute("update superstoryboard.artifacts set lease_until = null")
    assert await cleanups.claim(older_than_seconds=0, limit=10) == []


def test_waking_by_sql_notifies_and_knows_its_queues(sql: psycopg.Connection) -> None:
    sql.execute(f"listen {QUEUE_CHANNEL}")
    sql.execute("select superstoryboard.wake('video_generation_queue')")
    assert len(list(sql.notifies(timeout=5, stop_after=1))) == 1
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="unknown queue 'other'"):
        sql.execute("select superstoryboard.wake('other')")
