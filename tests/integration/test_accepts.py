"""Jobs come in by submits and by messages of others on the real database (I5)."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.store import JobStore
from tests.integration.helpers import (
    accept,
    image_queue,
    row,
    submission,
)


async def test_a_hundred_identical_submits_make_one_job(database: Database) -> None:
    store = JobStore(database)
    one = submission(request_id="r-1")
    answers = await asyncio.gather(*(store.accept([one]) for _ in range(100)))
    assert len({answer[0].job_id for answer in answers}) == 1
    assert sorted(answer[0].outcome for answer in answers) == ["created"] + ["existing"] * 99


async def test_batches_of_the_same_request_ids_in_opposite_order_do_not_deadlock(database: Database) -> None:
    store = JobStore(database)
    items = [submission(request_id=f"r-{n:03}") for n in range(50)]
    answers = await asyncio.gather(*(store.accept(items[::step]) for step in (1, -1) * 4))
    forward = {item.job_id for item in answers[0]}
    assert len(forward) == 50
    assert all({item.job_id for item in answer} == forward for answer in answers)


async def test_the_same_request_id_with_another_payload_is_a_conflict_and_of_another_owner_is_not(
    database: Database,
) -> None:
    store = JobStore(database)
    (first,) = await store.accept([submission(request_id="r")])
    (other,) = await store.accept([submission(request_id="r", submit_hash="else")])
    (foreign,) = await store.accept([submission(request_id="r", owner="bob")])
    assert (first.outcome, other.outcome, foreign.outcome) == ("created", "conflict", "created")


async def test_a_scheduled_job_waits(database: Database) -> None:
    await accept(database, delay_seconds=3600)
    assert await image_queue(database).claim(5, 60) == []


@pytest.mark.parametrize("body", ["[1, 2]", '"hi"', "{}", "null", "7", '{"prompt": {"a": [null]}}'])
async def test_any_body_is_adopted_and_stops_nobody(database: Database, sql: psycopg.Connection, body: str) -> None:
    sql.execute("select pgmq.send('image_generation_queue', %s::jsonb)", (body,))
    good = await accept(database)
    jobs = await image_queue(database).claim(5, 60)
    assert [job.owner for job in jobs] == ["sql", "alice"]
    assert jobs[1].id == good


async def test_a_queue_that_was_dropped_and_created_again_starts_new_jobs(
    database: Database, sql: psycopg.Connection
) -> None:
    old = await accept(database)
    sql.execute("drop view pgmq.image_generation_queue")
    sql.execute("select pgmq.drop_queue('image_generation_queue')")
    sql.execute("select pgmq.create('image_generation_queue')")
    ours = await database.fetch_one("select current_user as name")
    sql.execute(f"alter table pgmq.q_image_generation_queue owner to {ours['name']}")
    new = await accept(database)
    sql.execute("select pgmq.send('image_generation_queue', '{}')")
    jobs = await image_queue(database).claim(5, 60)
    assert [(job.owner, job.msg_id) for job in jobs] == [("alice", 1), ("sql", 2)], "without our triggers, too"
    assert jobs[0].id == new
    removed = await row(database, old)
    assert (removed["state"], removed["warnings"]) == ("CANCELLED", ["message removed"])
    assert (await row(database, new))["rank"] > removed["rank"]
