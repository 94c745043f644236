"""Newer is newer: the order of sends decides, whatever clocks and transactions do (SPEC A8)."""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.queue import ClaimedJob
from tests.integration.helpers import IMAGE_QUEUE, accept, finish, image_queue, row, stage

BODY = {"storyboardId": "board", "sceneId": "scene-1", "prompt": "a fox"}
SEND = "select pgmq.send(%s, %s::jsonb)"
MESSAGE = (IMAGE_QUEUE, json.dumps(BODY))
SHOWN = "select job_id from superstoryboard.entity_links where entity_id = 'scene-1'"


@pytest.fixture(params=["trigger", "claims"])
def adopting(request: pytest.FixtureRequest, sql: psycopg.Connection) -> str:
    """Who adopts: the trigger on the queue, or claims where there was no right to make one."""
    if request.param == "claims":
        sql.execute("drop trigger superstoryboard_adopt on pgmq.q_image_generation_queue")
    return str(request.param)


async def claims(database: Database) -> dict[int, ClaimedJob]:
    """All jobs by the number of their message, adopted bodies taken as they are."""
    work = image_queue(database)
    jobs = {job.msg_id: job for job in await work.claim(10, 60)}
    for job in jobs.values():
        if job.generation is None:
            assert await work.freeze(job, json.loads(job.raw_body or ""), "google", "m", [])
    return jobs


async def assert_newer(database: Database, sql: psycopg.Connection, older: ClaimedJob, newer: ClaimedJob) -> None:
    """The newer result is shown although the older one comes last."""
    for job in (newer, older):
        assert await finish(database, await stage(database, job)) == ("SUCCEEDED", True)
    assert (await row(database, older.id))["warnings"] == ["superseded"]
    assert sql.execute(SHOWN).fetchall() == [(newer.id,)]


@pytest.mark.usefixtures("adopting")
async def test_the_second_of_two_sends_of_one_transaction_is_newer(database: Database, sql: psycopg.Connection) -> None:
    with sql.transaction():
        for _ in range(2):
            sql.execute(SEND, MESSAGE)
    jobs = await claims(database)
    await assert_newer(database, sql, jobs[1], jobs[2])


@pytest.mark.usefixtures("adopting")
async def test_what_a_long_transaction_sends_last_is_newest(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    with psycopg.connect(database_url) as long:
        long.execute("select now()")
        await accept(database)
        long.execute(SEND, MESSAGE)
    jobs = await claims(database)
    began, sent = sql.execute("select enqueued_at from pgmq.q_image_generation_queue order by msg_id").fetchall()
    assert sent < began, "by the clock it would be older"
    await assert_newer(database, sql, jobs[1], jobs[2])


@pytest.mark.usefixtures("adopting")
@pytest.mark.parametrize("jump", [timedelta(hours=-2), timedelta(hours=2)])
async def test_a_clock_that_jumps_changes_no_order(
    database: Database, sql: psycopg.Connection, jump: timedelta
) -> None:
    sql.execute(
        "insert into pgmq.q_image_generation_queue (vt, message, enqueued_at) values (now(), %s, now() + %s)",
        (json.dumps(BODY), jump),
    )
    await accept(database)
    jobs = await claims(database)
    await assert_newer(database, sql, jobs[1], jobs[2])


async def test_what_was_sent_before_but_adopted_after_is_older(database: Database, sql: psycopg.Connection) -> None:
    sql.execute("drop trigger superstoryboard_adopt on pgmq.q_image_generation_queue")
    sql.execute(SEND, MESSAGE)
    newer = await accept(database)
    jobs = await claims(database)
    assert jobs[2].id == newer
    await assert_newer(database, sql, jobs[1], jobs[2])


async def test_a_queue_made_anew_numbers_from_one_and_its_jobs_are_newer(
    database: Database, sql: psycopg.Connection
) -> None:
    old = [await accept(database) for _ in range(3)]
    jobs = await claims(database)
    artifact = await stage(database, jobs[3])
    assert await finish(database, artifact) == ("SUCCEEDED", True)
    sql.execute("drop view pgmq.image_generation_queue")
    sql.execute("select pgmq.drop_queue('image_generation_queue')")
    sql.execute("select pgmq.create('image_generation_queue')")
    new = await accept(database)
    (job,) = await image_queue(database).claim(10, 60)
    assert (job.id, job.msg_id) == (new, 1)
    assert await finish(database, await stage(database, job)) == ("SUCCEEDED", True)
    assert sql.execute(SHOWN).fetchall() == [(new,)]
    ranks = [(await row(database, job_id))["rank"] for job_id in [*old, new]]
    assert ranks == sorted(ranks)


async def test_a_queue_whose_numbers_are_restarted_makes_newer_jobs(
    database: Database, sql: psycopg.Connection
) -> None:
    old = [await accept(database) for _ in range(3)]
    sql.execute("truncate pgmq.q_image_generation_queue restart identity")
    new = await accept(database)
    record = await row(database, new)
    assert record["msg_id"] == 1
    assert record["rank"] > max([(await row(database, job_id))["rank"] for job_id in old])


async def test_a_purge_that_goes_on_with_the_numbers_begins_no_incarnation(
    database: Database, sql: psycopg.Connection
) -> None:
    """Ranks have room for a thousand of them."""
    incarnation = "select incarnation from superstoryboard.queues where name = 'image_generation_queue'"
    await accept(database)
    before = sql.execute(incarnation).fetchone()
    sql.execute("truncate pgmq.q_image_generation_queue")
    sql.execute("select pgmq.purge_queue('image_generation_queue')")
    await accept(database)
    assert sql.execute(incarnation).fetchone() == before
