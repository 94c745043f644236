"""Quotas: exactly so many jobs of an owner, whoever races, and none for a repeat."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from uuid import UUID

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.domain.quotas import QuotaScope
from superstoryboard.jobs.steering import Refusal, Steering, Way
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.sweeps import Sweeper
from tests.faults.variants import change
from tests.integration.helpers import IMAGE_QUEUE, accept, claim_one, finish, image_queue, row, stage, submission
from tests.integration.quota_steps import allow, hold_clock, quota, submit
from tests.waiting import awaited

LIMITS = {"OPEN_JOBS": "open_jobs", "PER_MINUTE": "per_minute", "PER_DAY": "per_day"}
FAULT = JobError(ErrorClass.INVALID, "FAULT", "refused")


def end_minute(sql: psycopg.Connection) -> None:
    """As if the minute of all that was counted had passed."""
    sql.execute("update superstoryboard.quota_uses set minute = now() - interval '2 minutes'")


def end_day(sql: psycopg.Connection) -> None:
    """As if the day of all that was counted had passed."""
    ago = "now() - interval '2 days'"
    sql.execute(f"update superstoryboard.quota_uses set day = {ago}, minute = {ago}")


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_hundred_submits_at_once_make_exactly_as_many_as_are_allowed(
    database: Database, sql: psycopg.Connection, limit: str
) -> None:
    most = {LIMITS[limit]: 10}
    allow(sql, **most)  # type: ignore[arg-type]  # mypy takes its keys for scope and owner, too
    hold_clock(sql)
    answers = await asyncio.gather(*(submit(database) for _ in range(100)))
    assert sorted(quota(answer) for answer in answers) == sorted(["created"] * 10 + [limit] * 90)
    assert sql.execute("select count(*) from superstoryboard.jobs").fetchone() == (10,)
    assert sql.execute("select count(*) from pgmq.q_image_generation_queue").fetchone() == (10,)


async def test_batches_of_several_owners_at_once_wait_for_each_other_in_one_order(
    database: Database, sql: psycopg.Connection
) -> None:
    allow(sql, open_jobs=10)
    owners = [f"owner-{number}" for number in range(5)]
    store = JobStore(database)
    items = [submission(owner=owner) for owner in owners for _ in range(3)]
    answers = await asyncio.gather(*(store.accept(items[::step]) for step in (1, -1) * 4))
    created = [answer.record["owner"] for batch in answers for answer in batch if answer.outcome == "created"]
    assert {owner: created.count(owner) for owner in created} == dict.fromkeys(owners, 10)


async def test_owners_are_locked_in_one_order_whatever_that_of_the_items(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    allow(sql, open_jobs=10)
    items = [submission(owner=owner) for owner in ("b", "a")]
    await JobStore(database).accept(items)
    used = "select from superstoryboard.quota_uses where owner = %s for update"
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%accept_jobs%'"
    with psycopg.connect(database_url) as holder:
        holder.execute(used, ("a",))
        accepting = asyncio.create_task(JobStore(database).accept(items))
        await awaited(lambda: database.fetch(waiting), beside=accepting)
        assert sql.execute(used + " skip locked", ("b",)).rowcount == 1, "held while another was waited for"
        holder.rollback()
        assert [answer.outcome for answer in await accepting] == ["created"] * 2


async def test_a_batch_is_taken_as_far_as_the_quota_goes(database: Database, sql: psycopg.Connection) -> None:
    allow(sql, per_day=3)
    hold_clock(sql)
    answers = await JobStore(database).accept([submission() for _ in range(5)])
    assert [quota(answer) for answer in answers] == ["created"] * 3 + ["PER_DAY"] * 2
    assert [answer.refusal and answer.refusal.message for answer in answers[:3]] == [None] * 3


async def test_a_repeat_counts_nothing_and_never_fails(database: Database, sql: psycopg.Connection) -> None:
    allow(sql, open_jobs=1, per_minute=1, per_day=1)
    hold_clock(sql)
    answers = await asyncio.gather(*(submit(database, request_id="r") for _ in range(20)))
    assert sorted(answer.outcome for answer in answers) == ["created"] + ["existing"] * 19
    assert (await submit(database, request_id="r", submit_hash="else")).outcome == "conflict"
    assert sql.execute("select in_minute, in_day from superstoryboard.quota_uses").fetchall() == [(1, 1)]


async def test_minutes_and_days_begin_anew(database: Database, sql: psycopg.Connection) -> None:
    allow(sql, per_minute=1, per_day=2)
    hold_clock(sql)
    assert [quota(await submit(database)) for _ in range(2)] == ["created", "PER_MINUTE"]
    end_minute(sql)
    assert [quota(await submit(database)) for _ in range(2)] == ["created", "PER_DAY"]
    end_day(sql)
    assert quota(await submit(database)) == "created"
    assert sql.execute("select in_minute, in_day from superstoryboard.quota_uses").fetchall() == [(1, 1)]


async def test_days_are_those_of_utc(database: Database, sql: psycopg.Connection) -> None:
    allow(sql, per_day=1)
    await submit(database)
    day = "select day = date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' from superstoryboard.quota_uses"
    assert sql.execute(day).fetchone() == (True,)
    refused = (await submit(database)).refusal
    assert refused is not None
    left = "select extract(epoch from day + interval '24 hours' - now()) from superstoryboard.quota_uses"
    record = sql.execute(left).fetchone()
    assert record is not None
    assert float(record[0]) <= refused.retry_seconds < float(record[0]) + 600


async def succeed(database: Database, job_id: UUID) -> None:
    """The one open job, to its end."""
    del job_id
    await finish(database, await stage(database, await claim_one(image_queue(database))))


async def fail(database: Database, job_id: UUID) -> None:
    del job_id
    await image_queue(database).fail(await claim_one(image_queue(database)), FAULT)


async def cancel(database: Database, job_id: UUID) -> None:
    await Steering(database).cancel(job_id, owner=None, actor="operator")


async def delete(database: Database, job_id: UUID) -> None:
    await database.fetch("delete from superstoryboard.jobs where id = %(id)s", {"id": job_id})


async def truncate(database: Database, job_id: UUID) -> None:
    del job_id
    await database.fetch("truncate superstoryboard.jobs cascade")


async def remove_message(database: Database, job_id: UUID) -> None:
    del job_id
    await database.fetch("select pgmq.purge_queue(%(queue)s)", {"queue": IMAGE_QUEUE})
    await Sweeper(database).sweep()


ENDS = {end.__name__: end for end in (succeed, fail, cancel, delete, truncate, remove_message)}


@pytest.mark.parametrize("end", ENDS)
async def test_a_job_is_open_until_its_end_whichever_it_is(
    database: Database, sql: psycopg.Connection, end: str
) -> None:
    allow(sql, open_jobs=1)
    job_id = await accept(database)
    assert quota(await submit(database)) == "OPEN_JOBS"
    await ENDS[end](database, job_id)
    assert quota(await submit(database)) == "created"


async def test_waiting_running_and_staged_jobs_are_open_and_a_redriven_one_is_again(
    database: Database, sql: psycopg.Connection
) -> None:
    allow(sql, open_jobs=3)
    ended = await accept(database)
    await fail(database, ended)
    await accept(database)
    running = await claim_one(image_queue(database))
    assert await Steering(database).retry(ended, owner=None, actor="operator") == "NEW_CALL"
    await accept(database, delay_seconds=60)
    assert quota(await submit(database)) == "OPEN_JOBS"
    await stage(database, running)
    assert quota(await submit(database)) == "OPEN_JOBS"


async def test_jobs_that_were_cancelled_do_not_start_again_beyond_the_quota(
    database: Database, sql: psycopg.Connection
) -> None:
    allow(sql, open_jobs=2)
    steering = Steering(database)
    jobs = []
    for _ in range(4):
        jobs.append(await accept(database))
        await cancel(database, jobs[-1])

    async def retry(job_id: UUID, scope: QuotaScope = QuotaScope.EVERYONE) -> Way | Refusal:
        return await steering.retry(job_id, owner="alice", actor="alice", quota_scope=scope)

    again = await asyncio.gather(*(retry(job_id) for job_id in jobs))
    assert sorted(again) == [Way.NEW_CALL] * 2 + [Refusal.QUOTA_EXCEEDED] * 2
    waiting = [job_id for job_id, way in zip(jobs, again, strict=True) if way is Refusal.QUOTA_EXCEEDED]
    assert (await row(database, waiting[0]))["state"] == "CANCELLED"
    assert await retry(waiting[0], QuotaScope.NONE) is Way.NEW_CALL


async def test_what_is_paid_goes_on_beyond_the_quota(database: Database, sql: psycopg.Connection) -> None:
    paid = await accept(database)
    await stage(database, await claim_one(image_queue(database)))
    sql.execute("update superstoryboard.jobs set state = 'DEAD_LETTERED', ended_at = now()")
    sql.execute(
        "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, shape, model, state, paid)"
        " values (%s, 1, 'h', 'r', 'ANSWER', 'm', 'SETTLED', true)",
        (paid,),
    )
    await accept(database)
    allow(sql, open_jobs=1)
    way = await Steering(database).retry(paid, owner="alice", actor="alice", quota_scope=QuotaScope.EVERYONE)
    assert way is Way.WRITE_AGAIN


async def test_the_narrowest_number_counts(database: Database, sql: psycopg.Connection) -> None:
    allow(sql, open_jobs=1, per_day=4)
    allow(sql, scope="ANONYMOUS", per_day=1)
    allow(sql, scope="OWNER", owner="alice", open_jobs=2)
    allow(sql, scope="OWNER", owner="free", open_jobs=0, per_day=0)
    assert [quota(await submit(database, owner="bob")) for _ in range(2)] == ["created", "OPEN_JOBS"]
    assert [quota(await submit(database, owner="alice")) for _ in range(3)] == ["created", "created", "OPEN_JOBS"]
    assert [quota(await submit(database, owner="free")) for _ in range(9)] == ["created"] * 9
    guest = [quota(await submit(database, owner="guest", quota_scope="ANONYMOUS")) for _ in range(2)]
    assert guest == ["created", "PER_DAY"]
    assert quota(await submit(database, owner="bob", kind="video")) == "created", "every kind has its own"


@pytest.mark.parametrize("owner", ["service_role", "sql", "local"])
async def test_the_systems_own_names_have_no_quota(database: Database, sql: psycopg.Connection, owner: str) -> None:
    allow(sql, open_jobs=1)
    assert [quota(await submit(database, owner=owner)) for _ in range(3)] == ["created"] * 3


async def test_a_service_has_no_quota(database: Database, sql: psycopg.Connection) -> None:
    allow(sql, open_jobs=1)
    own = [quota(await submit(database, owner="backend", quota_scope="NONE")) for _ in range(3)]
    assert own == ["created"] * 3


async def test_a_lost_quota_lets_everyone_in_again(database: Database, sql: psycopg.Connection) -> None:
    allow(sql, per_day=1)
    assert [quota(await submit(database)) for _ in range(2)] == ["created", "PER_DAY"]
    sql.execute("delete from superstoryboard.quotas")
    assert quota(await submit(database)) == "created"


async def test_old_counts_are_swept(database: Database, sql: psycopg.Connection) -> None:
    allow(sql, per_day=5)
    await submit(database, owner="old")
    sql.execute("update superstoryboard.quota_uses set day = day - interval '2 days'")
    await submit(database, owner="new")
    await Sweeper(database).sweep()
    assert sql.execute("select owner from superstoryboard.quota_uses").fetchall() == [("new",)]


BROKEN: dict[str, tuple[tuple[str, str, str], Callable[..., Awaitable[None]]]] = {
    "what was used is not locked": (
        ("lock_quotas", "group by 1, 2, 3 order by 1, 2", "where false group by 1, 2, 3 order by 1, 2"),
        lambda database, sql: test_a_hundred_submits_at_once_make_exactly_as_many_as_are_allowed(
            database, sql, "OPEN_JOBS"
        ),
    ),
    "what was used is locked as it comes": (
        ("lock_quotas", "order by 1, 2", "order by 1 desc, 2"),
        test_owners_are_locked_in_one_order_whatever_that_of_the_items,
    ),
    "a repeat counts": (
        ("take_quota_of_item", "or exists (", "or false and exists ("),
        test_a_repeat_counts_nothing_and_never_fails,
    ),
    "only what waits is open": (
        ("lock_quota", "and t.kind = p_kind limit", "and t.kind = p_kind and t.ready limit"),
        test_waiting_running_and_staged_jobs_are_open_and_a_redriven_one_is_again,
    ),
    "days of the server": (
        ("lock_quota", "date_trunc('day', present, 'UTC')", "date_trunc('day', present, 'Asia/Tokyo')"),
        test_days_are_those_of_utc,
    ),
}
"""What is broken, and the test that must see it."""


@pytest.mark.parametrize("broken", BROKEN)
async def test_is_seen(database: Database, sql: psycopg.Connection, database_url: str, broken: str) -> None:
    changed, seen_by = BROKEN[broken]
    change(sql, *changed)
    given = {"database": database, "sql": sql, "database_url": database_url}
    parameters = inspect.signature(seen_by).parameters
    with pytest.raises(AssertionError):
        await seen_by(**{name: given[name] for name in parameters})
