"""Turns: due times and leases are the system's own, whatever others do to the visibility of messages."""

from __future__ import annotations

import psycopg
import pytest

from superstoryboard.jobs.database import Database
from superstoryboard.jobs.store import JobStore
from superstoryboard.queue.wakeups import QUEUE_CHANNEL, Wakeups
from superstoryboard.runtime.worker import Limits, Worker
from tests.integration.helpers import (
    IMAGE_QUEUE,
    accept,
    claim_one,
    expire_lease,
    image_queue,
    row,
    stage,
    submission,
)

LIMITS = Limits(concurrency=2, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)
TURN = "select ready, due_at is not null, lease_until is not null, claim from superstoryboard.turns where job = %s"


def turn(sql: psycopg.Connection, job_id: object) -> tuple[object, ...] | None:
    """Whether a job is ready, has a due time, has a lease, and the claim that holds it."""
    return sql.execute(TURN, (job_id,)).fetchone()


def without_trigger(sql: psycopg.Connection) -> None:
    """A database whose migration had no right to make the trigger."""
    sql.execute("drop trigger superstoryboard_adopt on pgmq.q_image_generation_queue")


async def test_a_job_has_one_turn_from_accept_to_its_end(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    assert turn(sql, job_id) == (True, True, False, None)
    job = await claim_one(image_queue(database))
    assert turn(sql, job_id) == (False, False, True, 1)
    await stage(database, job)
    assert turn(sql, job_id) == (False, False, False, None)
    sql.execute("select superstoryboard.cancel_job_v1(%s, null, 'operator')", (job_id,))
    assert turn(sql, job_id) is None


async def test_a_preview_of_others_delays_nothing(database: Database, sql: psycopg.Connection) -> None:
    waiting = [await accept(database) for _ in range(2)]
    assert sql.execute("select count(*) from pgmq.read(%s, 600, 10)", (IMAGE_QUEUE,)).fetchone() == (2,)

    async def generate(job: object) -> str:
        del job
        return "STAGED"

    worker = Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS)
    attempts = await worker.process(5, force=True)
    assert [attempt.job.id for attempt in attempts] == waiting


async def test_a_message_that_others_show_again_is_not_claimed(database: Database, sql: psycopg.Connection) -> None:
    scheduled = await accept(database, delay_seconds=3600)
    held = await accept(database)
    await claim_one(image_queue(database, "holder"))
    sql.execute("select pgmq.set_vt(%s, msg_id, 0) from pgmq.q_image_generation_queue", (IMAGE_QUEUE,))
    assert await image_queue(database).claim(5, 60) == []
    assert [(await row(database, job_id))["state"] for job_id in (scheduled, held)] == ["QUEUED", "RUNNING"]


async def test_messages_are_adopted_as_they_are_sent(database: Database, sql: psycopg.Connection) -> None:
    sql.execute("select pgmq.send(%s, '{\"sceneId\": 7}')", (IMAGE_QUEUE,))
    sql.execute("select pgmq.send(%s, '[1]', 60)", (IMAGE_QUEUE,))
    sql.execute("select pgmq.send_batch(%s, array['{}', '{}']::jsonb[])", (IMAGE_QUEUE,))
    adopted = sql.execute("select msg_id, owner, scene_id from superstoryboard.jobs order by msg_id").fetchall()
    assert adopted == [(1, "sql", "7"), (2, "sql", None), (3, "sql", None), (4, "sql", None)]
    assert [job.msg_id for job in await image_queue(database).claim(5, 60)] == [1, 3, 4]


async def test_a_send_never_fails_for_its_adoption(database: Database, sql: psycopg.Connection) -> None:
    sql.execute("alter table superstoryboard.jobs add constraint broken check (owner <> 'sql')")
    sql.execute("select pgmq.send(%s, '{}')", (IMAGE_QUEUE,))
    assert sql.execute("select count(*) from superstoryboard.jobs").fetchone() == (0,)
    sql.execute("alter table superstoryboard.jobs drop constraint broken")
    assert [job.msg_id for job in await image_queue(database).claim(5, 60)] == [1]


async def test_claims_adopt_where_no_trigger_does(database: Database, sql: psycopg.Connection) -> None:
    without_trigger(sql)
    sql.execute("select pgmq.send(%s, '{}', 60)", (IMAGE_QUEUE,))
    sql.execute("select pgmq.send(%s, '{}') from generate_series(1, 150)", (IMAGE_QUEUE,))
    sql.execute("select pgmq.read(%s, 600, 10)", (IMAGE_QUEUE,))
    work = image_queue(database)
    claimed = [job.msg_id for _ in range(3) for job in await work.claim(60, 60)]
    assert claimed == list(range(2, 152))


async def test_the_sweep_adopts_what_was_sent_long_before_what_claims_look_at(
    database: Database, sql: psycopg.Connection
) -> None:
    without_trigger(sql)
    sql.execute("select pgmq.send(%s, '{}') from generate_series(1, 3)", (IMAGE_QUEUE,))
    sql.execute("update superstoryboard.queues set adopted_msg_id = 2000")
    assert await image_queue(database).claim(5, 60) == []
    await JobStore(database).sweep()
    assert len(await image_queue(database).claim(5, 60)) == 3


async def test_an_expired_lease_is_recovered_by_whoever_beats(database: Database, sql: psycopg.Connection) -> None:
    lost, kept = [await accept(database) for _ in range(2)]
    await claim_one(image_queue(database, "dead"))
    beating = await claim_one(image_queue(database, "alive"))
    sql.execute("update superstoryboard.turns set lease_until = now() - interval '1 s' where job = %s", (lost,))
    assert await image_queue(database, "alive").extend([beating], 60) == {kept}
    assert turn(sql, lost) == (True, True, False, 1)
    assert turn(sql, kept) == (False, False, True, 1)


async def test_a_holder_keeps_an_expired_lease_that_nobody_claimed(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    work = image_queue(database)
    job = await claim_one(work)
    await expire_lease(database, IMAGE_QUEUE)
    await JobStore(database).sweep()
    assert turn(sql, job_id) == (True, True, False, 1)
    assert await work.extend([job], 60) == {job_id}
    assert turn(sql, job_id) == (False, False, True, 1)
    assert await image_queue(database, "other").claim(5, 60) == []


async def test_heartbeats_change_nothing_but_the_narrow_row(database: Database, sql: psycopg.Connection) -> None:
    await accept(database)
    work = image_queue(database)
    job = await claim_one(work)
    places = (
        "select (select ctid::text || xmin::text from pgmq.q_image_generation_queue),"
        " (select ctid::text || xmin::text from superstoryboard.jobs)"
    )
    before = sql.execute(places).fetchone()
    sql.execute("select pg_stat_reset()")
    for _ in range(20):
        await work.extend([job], 60)
    assert sql.execute(places).fetchone() == before
    held = "select indexdef from pg_indexes where tablename = 'turns' and indexdef like '%lease_until%'"
    assert sql.execute(held).fetchall() == [], "an index on the lease would cost every heartbeat an entry"


LOCKS = {
    "message": "select from pgmq.q_image_generation_queue where msg_id = 1 for update",
    "job": "select from superstoryboard.jobs where msg_id = 1 for update",
    "turn": "select from superstoryboard.turns order by turn limit 1 for update",
}


@pytest.mark.parametrize("locked", LOCKS)
async def test_a_lock_from_outside_delays_just_its_own_job(database: Database, database_url: str, locked: str) -> None:
    ids = [await accept(database) for _ in range(3)]
    work = image_queue(database)
    with psycopg.connect(database_url) as outside:
        outside.execute(LOCKS[locked])
        assert [job.id for job in await work.claim(5, 60)] == ids[1:]
        outside.rollback()
    assert [job.id for job in await work.claim(5, 60)] == ids[:1]


@pytest.mark.parametrize("locked", LOCKS)
async def test_a_lock_from_outside_loses_no_lease(database: Database, database_url: str, locked: str) -> None:
    ids = {await accept(database) for _ in range(3)}
    work = image_queue(database)
    jobs = await work.claim(3, 60)
    with psycopg.connect(database_url) as outside:
        outside.execute(LOCKS[locked])
        assert await work.extend(jobs, 60) == ids
        outside.rollback()


async def test_many_locked_messages_in_front_stop_nobody(database: Database, database_url: str) -> None:
    store = JobStore(database)
    await store.accept([submission() for _ in range(200)])
    free = await accept(database)
    with psycopg.connect(database_url) as outside:
        outside.execute("select from pgmq.q_image_generation_queue where msg_id <= 200 for update")
        assert [job.id for job in await image_queue(database).claim(5, 60)] == [free]
        outside.rollback()
