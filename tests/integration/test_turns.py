"""Turns: due times and leases are the system's own, whatever others do to the visibility of messages."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.sweeps import Sweeper
from superstoryboard.worker.loop import Limits, Worker
from tests.integration.helpers import (
    IMAGE_QUEUE,
    VIDEO_QUEUE,
    accept,
    claim_one,
    expire_lease,
    image_queue,
    intend,
    row,
    stage,
    submission,
    video_queue,
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


@pytest.mark.parametrize("adopted_by", ["trigger", "claim"])
async def test_a_message_that_cannot_be_a_job_stops_no_other(
    database: Database, sql: psycopg.Connection, adopted_by: str
) -> None:
    """Whoever may write to the queue's table may put in any time and, of a queue that was created again, any number."""
    if adopted_by == "claim":
        without_trigger(sql)
    sql.execute("update superstoryboard.queues set incarnation = 1")
    sql.execute("insert into pgmq.q_image_generation_queue (vt, message) values ('-infinity', '{}')")
    sql.execute(
        "insert into pgmq.q_image_generation_queue (msg_id, vt, message) overriding system value"
        " values (9223372036854775807, now(), '{}')"
    )
    sql.execute("select pgmq.send(%s, '{}')", (IMAGE_QUEUE,))
    assert not [duty for duty in await Sweeper(database).sweep() if duty.error]
    assert [job.msg_id for job in await image_queue(database).claim(5, 60)] == [1, 2]


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
    await Sweeper(database).sweep()
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
    await Sweeper(database).sweep()
    assert turn(sql, job_id) == (True, True, False, 1)
    assert await work.extend([job], 60) == {job_id}
    assert turn(sql, job_id) == (False, False, True, 1)
    assert await image_queue(database, "other").claim(5, 60) == []


async def test_heartbeats_change_nothing_but_the_narrow_row(database: Database, sql: psycopg.Connection) -> None:
    await accept(database)
    job = await claim_one(image_queue(database))
    beat = "select * from superstoryboard.extend_leases_v1(%s, array[%s], array[%s]::bigint[], 60)"
    written = (
        "select relname, n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables"
        " where n_tup_ins + n_tup_upd + n_tup_del > 0 order by 1"
    )
    with sql.transaction():
        for _ in range(20):
            sql.execute(beat, (IMAGE_QUEUE, job.id, job.claim))
        assert sql.execute(written).fetchall() == [("turns", 20, 20)], "one row each, and no index"


async def test_a_due_time_that_comes_makes_a_job_ready_a_hundred_at_a_time(
    database: Database, sql: psycopg.Connection
) -> None:
    await JobStore(database).accept([submission(delay_seconds=60) for _ in range(150)])
    assert await image_queue(database).claim(1, 60) == []
    await expire_lease(database, IMAGE_QUEUE)
    assert len(await image_queue(database).claim(1, 60)) == 1
    assert sql.execute("select count(*) from superstoryboard.turns where ready").fetchone() == (99,)


async def test_racing_adoptions_make_one_job_of_each_message(database: Database, sql: psycopg.Connection) -> None:
    without_trigger(sql)
    work = image_queue(database)

    async def send() -> list[object]:
        await database.fetch("select pgmq.send(%(queue)s, '{}') from generate_series(1, 20)", {"queue": IMAGE_QUEUE})
        await database.fetch("select public.pgmq_send(%(queue)s, '{}')", {"queue": IMAGE_QUEUE})
        return []

    async def sweep() -> list[object]:
        await Sweeper(database).sweep()
        return []

    for _ in range(4):
        await asyncio.gather(send(), send(), sweep(), sweep(), *(work.claim(5, 60) for _ in range(6)))
    await sweep()
    jobs = "select count(*), count(distinct msg_id), min(msg_id), max(msg_id) from superstoryboard.jobs"
    assert sql.execute(jobs).fetchall() == [(168, 168, 1, 168)]
    assert sql.execute("select count(*) from superstoryboard.turns").fetchone() == (168,)


async def test_neighbours_of_a_job_that_kills_its_worker_come_apart_from_it(
    database: Database, sql: psycopg.Connection
) -> None:
    await JobStore(database).accept([submission() for _ in range(5)])
    for loss in range(4):
        await expire_lease(database, IMAGE_QUEUE)
        sql.execute("select superstoryboard.recover_leases(%s, 100)", (IMAGE_QUEUE,))
        await expire_lease(database, IMAGE_QUEUE)
        claimed = await image_queue(database).claim(5, 60)
        assert [job.attempt for job in claimed] == [1] * 5, f"after {loss} losses"
    sql.execute("update superstoryboard.turns set lease_until = now() - interval '1 s'")
    sql.execute("select superstoryboard.recover_leases(%s, 100)", (IMAGE_QUEUE,))
    waits = sql.execute(
        "select count(distinct due_at), max(due_at) < now() + interval '7 s' from superstoryboard.turns"
    )
    assert waits.fetchone() == (5, True)


async def test_a_video_whose_call_is_unknown_is_buried_as_that(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    sql.execute("select superstoryboard.lose_call_v1(%s::bigint, null)", (call,))
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    dead = await row(database, job_id)
    assert (dead["state"], dead["error"]["class"], dead["attempt"]) == ("DEAD_LETTERED", "UNKNOWN_OUTCOME", 1)


async def test_what_is_paid_is_claimed_from_a_waiting_and_from_a_held_turn(
    database: Database, sql: psycopg.Connection
) -> None:
    jobs = [await accept(database, kind="video") for _ in range(2)]
    work = video_queue(database)
    waiting, held = await work.claim(2, 60)
    for job in (waiting, held):
        call = await intend(database, job)
        assert call is not None
        await Ledger(database).accept(call, f"op-{job.id}")
    assert await work.release(waiting, 0, "drained")
    sql.execute("update superstoryboard.turns set lease_until = now() - interval '1 s' where job = %s", (held.id,))
    sql.execute("update superstoryboard.queues set paused = true")
    assert {job.id for job in await video_queue(database, "next", running=1).claim(5, 60)} == set(jobs)


async def test_a_schedule_counts_from_its_due_time(database: Database, sql: psycopg.Connection) -> None:
    later = await accept(database, delay_seconds=3600)
    sql.execute("select pgmq.send(%s, '{}', 3600)", (IMAGE_QUEUE,))
    spans = "select scheduled_at - enqueued_at between '59 min' and '61 min' from superstoryboard.jobs"
    assert sql.execute(spans).fetchall() == [(True,), (True,)], later


async def test_a_turn_without_an_open_job_stops_nobody(database: Database, sql: psycopg.Connection) -> None:
    gone, ended, good = [await accept(database) for _ in range(3)]
    with sql.transaction():
        sql.execute("set local session_replication_role = replica")
        sql.execute("delete from superstoryboard.jobs where id = %s", (gone,))
        sql.execute("update superstoryboard.jobs set state = 'CANCELLED' where id = %s", (ended,))
    assert [job.id for job in await image_queue(database).claim(1, 60)] == [good]
    assert sql.execute("select job from superstoryboard.turns").fetchall() == [(good,)]


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
