"""A job row that somebody removes by hand takes its message along: nothing is made, or paid, a second time."""

from __future__ import annotations

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.jobs.sweeps import Sweeper
from tests.integration.helpers import IMAGE_QUEUE, accept, claim_one, expire_lease, finish, image_queue, intend, stage

REMOVE = {
    "delete": "delete from superstoryboard.jobs",
    "truncate": "truncate superstoryboard.jobs cascade",
}


async def _called(database: Database) -> ClaimedJob:
    job = await claim_one(image_queue(database))
    assert await intend(database, job) is not None
    return job


@pytest.mark.parametrize("way", REMOVE)
async def test_its_message_makes_no_new_job(database: Database, sql: psycopg.Connection, way: str) -> None:
    waiting = await accept(database)
    await _called(database)
    sql.execute("select pgmq.send(%s, '{}')", (IMAGE_QUEUE,))
    await accept(database)
    await stage(database, await claim_one(image_queue(database)))
    sql.execute(REMOVE[way])
    await expire_lease(database, IMAGE_QUEUE)
    await Sweeper(database).sweep()
    assert await image_queue(database).claim(5, 60, force=True) == [], waiting
    left = sql.execute(
        "select (select count(*) from superstoryboard.jobs), (select count(*) from superstoryboard.turns),"
        " (select count(*) from pgmq.q_image_generation_queue), (select count(*) from pgmq.a_image_generation_queue)"
    ).fetchone()
    assert left == (0, 0, 0, 3)


async def test_a_job_that_has_ended_is_removed_without_more(database: Database, sql: psycopg.Connection) -> None:
    await accept(database)
    await finish(database, await stage(database, await claim_one(image_queue(database))))
    sql.execute("delete from superstoryboard.jobs")
    assert sql.execute("select count(*) from pgmq.a_image_generation_queue").fetchone() == (1,)
