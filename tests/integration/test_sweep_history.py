"""What the sweep discards, hands out and deletes after its time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.cleanups import Cleanups
from superstoryboard.jobs.sweeps import Ages, Sweeper
from tests.integration.helpers import (
    ENDING,
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
from tests.integration.sweep_steps import age, sweep


async def test_uploads_without_a_worker_are_discarded(database: Database, sql: psycopg.Connection) -> None:
    await accept(database)
    lost = await begin(database, await claim_one(image_queue(database)))
    await expire_lease(database, IMAGE_QUEUE)
    again = await claim_one(image_queue(database, "next"))
    assert await sweep(database) == {}
    sql.execute("update superstoryboard.artifacts set created_at = created_at - interval '2 hours'")
    assert await sweep(database) == {"discard_uploads": 1}
    assert again.upload is None, "it is the answer of no call, so that nobody has to look for it"
    kept = await begin(database, again)
    sql.execute("update superstoryboard.artifacts set created_at = created_at - interval '2 hours'")
    assert await sweep(database) == {}, "an upload whose worker holds the job goes on"
    states = sql.execute("select id, state from superstoryboard.artifacts order by created_at, id").fetchall()
    assert dict(states) == {lost.id: "DISCARDED", kept.id: "UPLOADING"}


async def test_history_goes_after_its_time_and_dead_letters_stay(database: Database, sql: psycopg.Connection) -> None:
    done, uncleaned, dead, young = [await accept(database) for _ in range(4)]
    work = image_queue(database)
    asset = await stage(database, await claim_one(work))
    await finish(database, asset)
    await finish(database, await stage(database, await claim_one(work)))
    await work.bury(await claim_one(work), JobError(ErrorClass.UNKNOWN_OUTCOME, "CODE", "m"))
    await finish(database, await stage(database, await claim_one(work)))
    sql.execute("update superstoryboard.artifacts set cleaned_at = now() where job_id <> %s", (uncleaned,))
    for job_id in (done, uncleaned, dead):
        age(sql, job_id, "401 days")
    sql.execute("update superstoryboard.job_events set created_at = created_at - interval '31 days'")
    sql.execute(
        "update pgmq.a_image_generation_queue set archived_at = archived_at - interval '91 days' where msg_id = 1"
    )
    swept = await sweep(database)
    assert (swept["delete_jobs"], swept["delete_archives"]) == (1, 1)
    assert swept["delete_events"] > 0
    left = sql.execute("select id from superstoryboard.jobs").fetchall()
    assert {each[0] for each in left} == {uncleaned, dead, young}, "objects that are still to be removed stay named"
    named = sql.execute("select job_id, bucket from superstoryboard.assets where id = %s", (asset,)).fetchone()
    assert named == (None, "storyboard-images"), "the stored object is still named"
    assert sql.execute("select count(*) from superstoryboard.job_events where job_id = %s", (young,)).fetchone() != (0,)


async def test_dead_letters_are_given_up_only_where_an_age_is_set(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    artifact = await stage(database, await claim_one(image_queue(database)))
    await Artifacts(database).bury(artifact, JobError(ErrorClass.CONFIG, "CODE", "m"), ENDING)
    age(sql, job_id, "4000 days")
    assert await sweep(database) == {}
    ages = Ages(dead_letters=timedelta(days=3000))
    assert {duty.name for duty in await Sweeper(database, ages).sweep() if duty.changed} == {"discard_dead_letters"}
    assert (await row(database, job_id))["state"] == "CANCELLED"
    assert await Cleanups(database).claim(older_than_seconds=0, limit=10) == [], "it may still be started again"
    age(sql, job_id, "2 days")
    sql.execute("update superstoryboard.artifacts set staged_at = staged_at - interval '2 days'")
    assert await sweep(database) == {"discard_cancelled": 1}
    removed = await Cleanups(database).claim(older_than_seconds=0, limit=10)
    assert [cleanup.id for cleanup in removed] == [artifact], "its objects are removed"


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
    sql.execute("update superstoryboard.jobs set ended_at = ended_at - interval '1 day'")
    sql.execute("update superstoryboard.artifacts set staged_at = staged_at - interval '1 day'")
    assert (await sweep(database))["discard_cancelled"] == 1
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


async def test_the_kept_artifact_of_a_dead_letter_is_removed_after_an_edit(
    database: Database, sql: psycopg.Connection
) -> None:
    await accept(database)
    artifact = await stage(database, await claim_one(image_queue(database)))
    assert await Artifacts(database).bury(artifact, JobError(ErrorClass.CONFIG, "CODE", "m"), ENDING) == "DEAD_LETTERED"
    sql.execute(
        "select superstoryboard.redrive_job_v1("
        "id, null, 'alice', array['DEAD_LETTERED'], true, generation, provider, model, warnings)"
        " from superstoryboard.jobs"
    )
    removed = await Cleanups(database).claim(older_than_seconds=0, limit=10)
    assert [(cleanup.id, cleanup.state) for cleanup in removed] == [(artifact, "DISCARDED")]
