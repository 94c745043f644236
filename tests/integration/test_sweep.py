"""The sweep's duties beyond removed and unknown messages; objects to remove; waking workers by SQL."""

from __future__ import annotations

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.db.notify import QUEUE_CHANNEL
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.domain.kinds import KINDS
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.sweeps import Duty, Sweeper
from tests.integration.helpers import (
    IMAGE_QUEUE,
    accept,
    claim_one,
    expire_lease,
    finish,
    image_queue,
    intend,
    row,
    stage,
)
from tests.integration.sweep_steps import age, sweep


async def test_a_job_that_nothing_ends_becomes_a_dead_letter(database: Database, sql: psycopg.Connection) -> None:
    """Also one that is hidden all the time, as at a gate that never opens. Who holds a job is left to it."""
    held = await accept(database)
    await claim_one(image_queue(database))
    old, hidden, young = [await accept(database) for _ in range(3)]
    sql.execute(
        "select superstoryboard.set_due(j, 400000000) from superstoryboard.jobs j where id = any (%s)",
        ([hidden, young],),
    )
    for job_id in (old, held, hidden):
        age(sql, job_id, "8 days")
    assert await sweep(database) == {"bury_overdue": 2}
    for job_id in (old, hidden):
        buried = await row(database, job_id)
        assert (buried["state"], buried["error"]["code"]) == ("DEAD_LETTERED", "MAX_AGE_EXCEEDED")
    assert [(await row(database, job_id))["state"] for job_id in (young, held)] == ["QUEUED", "RUNNING"]


@pytest.mark.parametrize("by_sql", [False, True])
async def test_a_scheduled_job_counts_its_age_from_its_time(
    database: Database, sql: psycopg.Connection, by_sql: bool
) -> None:
    ten_days = 864_000
    if by_sql:
        sql.execute("select pgmq.send('image_generation_queue', '{}', %s)", (ten_days,))
        await sweep(database)
    else:
        await accept(database, delay_seconds=ten_days)
    record = sql.execute("select id from superstoryboard.jobs").fetchone()
    assert record is not None
    age(sql, record[0], "8 days")
    assert await sweep(database) == {}, "its time has not come"
    age(sql, record[0], "8 days")
    assert await sweep(database) == {}, "it is six days old"
    age(sql, record[0], "2 days")
    assert await sweep(database) == {"bury_overdue": 1}


async def test_a_job_staged_too_long_becomes_a_dead_letter_that_keeps_its_artifact(
    database: Database, sql: psycopg.Connection
) -> None:
    stale, young = await accept(database), await accept(database)
    work = image_queue(database)
    artifact = await stage(database, await claim_one(work))
    await stage(database, await claim_one(work))
    sql.execute(
        "update superstoryboard.artifacts set staged_at = staged_at - interval '8 days' where id = %s", (artifact,)
    )
    assert await sweep(database) == {"bury_staged": 1}
    buried = await row(database, stale)
    assert (buried["state"], buried["error"]["code"]) == ("DEAD_LETTERED", "STAGED_MAX_AGE_EXCEEDED")
    assert (await row(database, young))["state"] == "STAGED"
    assert sql.execute("select state from superstoryboard.artifacts where id = %s", (artifact,)).fetchone() == (
        "STAGED",
    )
    redriven = sql.execute(
        "select superstoryboard.redrive_job_v1(%s, null, 'x', array['DEAD_LETTERED'], false, null, null, null, null)",
        (stale,),
    ).fetchone()
    assert redriven == ("WRITE_AGAIN",)
    claimed = await Artifacts(database).claim(artifact_id=None, quantity=5, lease_seconds=60, min_age_seconds=0)
    assert artifact in [one.id for one in claimed]


HOLDS = {
    "job": "select from superstoryboard.jobs where id = %s for update",
    "message": "select from pgmq.q_image_generation_queue q join superstoryboard.jobs j using (msg_id) where j.id = %s"
    " for update of q",
    "artifact": "select from superstoryboard.artifacts where job_id = %s for update",
    "event": "select from superstoryboard.job_events where job_id = %s for update",
}


@pytest.mark.parametrize("held", HOLDS)
async def test_what_another_session_holds_is_left_and_delays_no_duty(
    database: Database, database_url: str, sql: psycopg.Connection, held: str
) -> None:
    """Two jobs for each duty; of each the first is locked from outside."""
    work = image_queue(database)
    ended = [await accept(database) for _ in range(2)]
    for _ in ended:
        await finish(database, await stage(database, await claim_one(work)))
    staged = [await accept(database) for _ in range(2)]
    for _ in staged:
        await stage(database, await claim_one(work))
    removed, old = [await accept(database) for _ in range(2)], [await accept(database) for _ in range(2)]
    sql.execute("update superstoryboard.artifacts set staged_at = staged_at - interval '8 days' where state = 'STAGED'")
    sql.execute("update superstoryboard.artifacts set cleaned_at = now() where state = 'WRITTEN'")
    for job_id in (*ended, *old):
        age(sql, job_id, "401 days")
    for job_id in removed:
        sql.execute("select pgmq.delete(queue, msg_id) from superstoryboard.jobs where id = %s", (job_id,))
    sql.execute("update superstoryboard.job_events set created_at = created_at - interval '31 days'")
    with psycopg.connect(database_url) as outside:
        for first, _ in (ended, staged, removed, old):
            outside.execute(HOLDS[held], (first,))
        during = {duty.name: duty for duty in await Sweeper(database).sweep()}
    assert [duty.error for duty in during.values()] == [""] * len(during)
    for name in ("cancel_removed", "bury_overdue", "bury_staged", "delete_jobs"):
        assert during[name].changed >= 1, name
    after = await sweep(database)
    for name in ("cancel_removed", "bury_overdue", "bury_staged", "delete_jobs"):
        assert during[name].changed + after.get(name, 0) == 2, name


async def test_a_duty_that_fails_is_told_and_stops_no_other(database: Database, sql: psycopg.Connection) -> None:
    await accept(database)
    sql.execute("select pgmq.purge_queue('image_generation_queue')")
    sql.execute(
        "create or replace function superstoryboard.sweep_adopt_messages(p_queue text, p_limit integer) returns bigint"
        " language plpgsql as $$ begin raise exception 'broken'; end $$"
    )
    by_sql: dict[str, str | None] = dict(sql.execute("select duty, error from superstoryboard.sweep()").fetchall())
    broken = "; ".join(f"{queue}: SQLSTATE P0001" for queue in sorted({kind.queue for kind in KINDS.values()}))
    assert by_sql.pop("adopt_messages") == broken
    assert set(by_sql.values()) == {None}
    await accept(database)
    sql.execute("select pgmq.purge_queue('image_generation_queue')")
    duties = {duty.name: duty for duty in await Sweeper(database).sweep()}
    assert duties.pop("adopt_messages").error == broken
    assert duties["cancel_removed"].changed == 1
    assert {duty.error for duty in duties.values()} == {""}


async def test_a_queue_that_was_dropped_stops_no_duty_of_the_other(database: Database, sql: psycopg.Connection) -> None:
    lost = await accept(database)
    await accept(database, kind="video")
    sql.execute("update superstoryboard.jobs set claim = 1001")
    sql.execute("select pgmq.purge_queue('video_generation_queue')")
    sql.execute("drop table pgmq.q_image_generation_queue cascade")
    missing = "image_generation_queue: the queue is missing (SQLSTATE 42P01)"
    duties = {duty.name: duty for duty in await Sweeper(database).sweep()}
    assert len(duties) == 14
    assert {duty.name: duty.error for duty in duties.values() if duty.error} == {
        "cancel_removed": missing,
        "adopt_messages": missing,
    }
    assert duties["cancel_removed"].changed == 1
    assert (await row(database, lost))["state"] == "QUEUED", "a queue that is missing takes no job with it"
    by_sql: dict[str, str | None] = dict(sql.execute("select duty, error from superstoryboard.sweep()").fetchall())
    assert by_sql["adopt_messages"] == missing
    status = sql.execute("select name, depth, oldest_age_seconds from superstoryboard.queue_status_v1()").fetchall()
    assert {("image_generation_queue", 1, None), ("video_generation_queue", 0, None)} <= set(status)


async def test_a_job_claimed_without_end_becomes_a_dead_letter(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    sql.execute("update superstoryboard.jobs set claim = 1001")
    assert await sweep(database) == {"bury_overdue": 1}
    assert (await row(database, job_id))["state"] == "DEAD_LETTERED"


async def test_only_claims_in_a_row_that_nobody_ended_count_as_without_end(
    database: Database, sql: psycopg.Connection
) -> None:
    """A dead letter that is started again is not a dead letter at the next sweep; a wait may be repeated for days."""
    job_id = await accept(database)
    sql.execute("update superstoryboard.jobs set claim = 1001")
    assert await sweep(database) == {"bury_overdue": 1}
    assert await Steering(database).redrive([job_id], actor="operator") is None
    assert await sweep(database) == {}
    work = image_queue(database)
    for end in ("wait", "release"):
        sql.execute("update superstoryboard.jobs set claim = claim + 990")
        await expire_lease(database, IMAGE_QUEUE)
        job = await claim_one(work)
        if end == "wait":
            away = JobError(ErrorClass.UNAVAILABLE_DEPENDENCY, "STAGING_UNAVAILABLE", "away")
            assert await work.retry(job, 0, away, spend=False) == "RETRYING"
        else:
            assert await work.release(job, 0, "released")
        sql.execute("update superstoryboard.jobs set claim = claim + 990")
        assert await sweep(database) == {}
    sql.execute("update superstoryboard.jobs set claim = claim + 11")
    assert await sweep(database) == {"bury_overdue": 1}


async def test_what_a_call_of_a_cancelled_job_left_is_kept_for_a_day(
    database: Database, sql: psycopg.Connection
) -> None:
    """However long ago it was called: as what is staged, it is kept for the case that the job is started again."""
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    assert await intend(database, job) is not None
    sql.execute("update superstoryboard.artifacts set created_at = created_at - interval '2 hours'")
    await Steering(database).cancel(job_id, owner="alice", actor="alice")
    assert await sweep(database) == {}
    age(sql, job_id, "2 days")
    assert await sweep(database) == {"discard_uploads": 1}


async def test_a_duty_that_fails_says_why_and_the_others_go_on(database: Database, sql: psycopg.Connection) -> None:
    old = await accept(database)
    age(sql, old, "8 days")
    sql.execute("create function refuse() returns trigger language plpgsql as $$ begin raise check_violation; end $$")
    sql.execute(
        "create trigger refuse before insert on superstoryboard.job_events for each row execute function refuse()"
    )
    assert [duty for duty in await Sweeper(database).sweep() if duty.error] == [
        Duty("bury_overdue", 0, "SQLSTATE 23514")
    ]
    assert (await row(database, old))["state"] == "QUEUED"
    sql.execute("drop trigger refuse on superstoryboard.job_events")
    assert await sweep(database) == {"bury_overdue": 1}


def test_waking_by_sql_notifies_and_knows_its_queues(sql: psycopg.Connection) -> None:
    sql.execute(f"listen {QUEUE_CHANNEL}")
    sql.execute("select superstoryboard.wake('video_generation_queue')")
    assert len(list(sql.notifies(timeout=60, stop_after=1))) == 1
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="unknown queue 'other'"):
        sql.execute("select superstoryboard.wake('other')")
