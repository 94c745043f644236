"""Gates: limits on submits that the whole fleet shares (I7); what is already paid never waits at one."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.jobs.store import JobStore
from superstoryboard.worker.attempt.errors import GateClosedError
from superstoryboard.worker.attempts import BACKOFF_MAX_SECONDS
from superstoryboard.worker.loop import Limits, Worker
from tests.integration.helpers import (
    IMAGE_QUEUE,
    VIDEO_QUEUE,
    accept,
    claim_one,
    database_time,
    expire_lease,
    finish,
    image_queue,
    intend,
    open_call,
    row,
    stage,
    video_queue,
)

LIMITS = Limits(concurrency=5, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)


def last_due(sql: psycopg.Connection) -> datetime:
    """When the last image that waits may be claimed; its message is hidden until then for those who look."""
    record = sql.execute(
        "select t.due_at, q.vt from superstoryboard.turns t join superstoryboard.jobs j on j.id = t.job"
        " join pgmq.q_image_generation_queue q using (msg_id) order by t.due_at desc limit 1"
    ).fetchone()
    assert record is not None
    assert abs(record[0] - record[1]) <= timedelta(seconds=1), "what others see is copied from what holds"
    return record[0]  # type: ignore[no-any-return]  # a timestamp


def assert_hidden(sql: psycopg.Connection, begun: datetime, seconds: float) -> None:
    """The next message is due so long after something that happened between `begun` and now; whole seconds hide it."""
    least, most = (at + timedelta(seconds=seconds) for at in (begun, database_time(sql)))
    assert least <= last_due(sql) <= most + timedelta(seconds=1)


async def test_no_more_calls_a_minute_than_the_limit_whoever_races(database: Database) -> None:
    for _ in range(10):
        await accept(database)
    jobs = await image_queue(database).claim(10, 60)
    opened = await asyncio.gather(*(open_call(database, job, per_minute=3) for job in jobs))
    passed = [call for call in opened if call.call_id is not None]
    assert len(passed) == 3
    assert all(0 < call.wait_seconds <= 60 for call in opened if call.call_id is None)


async def test_no_more_calls_a_day_than_the_limit(database: Database, sql: psycopg.Connection) -> None:
    for _ in range(2):
        await accept(database)
    first, second = await image_queue(database).claim(2, 60)
    assert (await open_call(database, first, per_day=1)).call_id is not None
    sql.execute("update superstoryboard.provider_calls set created_at = superstoryboard.quota_day_start()")
    refused = await open_call(database, second, per_day=1)
    assert refused.call_id is None
    assert 0 < refused.wait_seconds <= 86_400 + 3600
    sql.execute(
        "update superstoryboard.provider_calls set created_at = superstoryboard.quota_day_start() - interval '1 s'"
    )
    assert (await open_call(database, second, per_day=1)).call_id is not None


async def test_a_worker_takes_only_what_the_gate_has_room_for(database: Database, sql: psycopg.Connection) -> None:
    for _ in range(5):
        await accept(database)
    limited = image_queue(database, per_minute=2)
    jobs = await limited.claim(5, 60)
    assert len(jobs) == 2
    for job in jobs:
        assert (await open_call(database, job, per_minute=2)).call_id is not None
    assert await limited.claim(5, 60) == []
    waiting = sql.execute("select state, attempt, claim from superstoryboard.jobs where state = 'QUEUED'").fetchall()
    assert waiting == [("QUEUED", 0, 0)] * 3


async def test_a_closed_gate_stops_the_jobs_of_its_model_and_no_others_until_it_opens(
    database: Database, sql: psycopg.Connection
) -> None:
    work = image_queue(database)
    await accept(database)
    other = await accept(database, model="other")
    await work.close_gate("m", 40, "RATE_LIMITED")
    assert [job.id for job in await work.claim(5, 60)] == [other]
    sql.execute("update superstoryboard.gates set closed_until = now()")
    assert len(await work.claim(5, 60)) == 1


async def test_a_shorter_closing_does_not_open_a_gate_earlier(database: Database, sql: psycopg.Connection) -> None:
    work = image_queue(database)
    await asyncio.gather(*(work.close_gate("m", seconds, "R") for seconds in (5, 500, 50)))
    record = sql.execute("select extract(epoch from closed_until - now()) > 400 from superstoryboard.gates").fetchone()
    assert record == (True,)


async def test_a_full_gate_never_stops_what_is_paid(database: Database) -> None:
    work = video_queue(database, running=10)
    running = [await accept(database, kind="video") for _ in range(10)]
    for job in await work.claim(10, 60):
        call = await intend(database, job)
        assert call is not None
        await Ledger(database).accept(call, f"op-{job.id}")
    waiting = await accept(database, kind="video")
    assert await work.claim(20, 60) == []
    await expire_lease(database, VIDEO_QUEUE)
    await work.close_gate("m", 100, "QUOTA_EXHAUSTED")
    resumed = await video_queue(database, "next", running=10).claim(20, 60)
    assert [job.id for job in resumed] == running
    assert all(job.operation is not None for job in resumed)
    assert (await row(database, waiting))["state"] == "QUEUED"


async def test_operations_older_than_a_quarter_of_an_hour_hold_no_place(
    database: Database, sql: psycopg.Connection
) -> None:
    work = video_queue(database, running=1)
    await accept(database, kind="video")
    assert await intend(database, await claim_one(work)) is not None
    sql.execute("update superstoryboard.provider_calls set created_at = now() - interval '16 minutes'")
    await accept(database, kind="video")
    assert len(await work.claim(1, 60)) == 1


async def test_nothing_new_is_taken_while_the_asset_writer_is_far_behind(
    database: Database, sql: psycopg.Connection
) -> None:
    sql.execute("update superstoryboard.queues set max_staged = 2")
    work = image_queue(database)
    for _ in range(3):
        await accept(database)
    artifacts = [await stage(database, await claim_one(work)) for _ in range(2)]
    assert await work.claim(1, 60) == []
    await finish(database, artifacts[0])
    assert len(await work.claim(1, 60)) == 1


@pytest.mark.parametrize(
    ("error_class", "asked", "seconds"),
    [
        (ErrorClass.RATE_LIMITED, 7.2, 7.2),
        (ErrorClass.RATE_LIMITED, None, 30),
        (ErrorClass.QUOTA_EXHAUSTED, 5000, 5000),
        (ErrorClass.CONFIG, None, 60),
    ],
)
async def test_one_answer_closes_the_gate_for_everyone_and_spends_nothing(
    database: Database, sql: psycopg.Connection, error_class: ErrorClass, asked: float | None, seconds: float
) -> None:
    job_id = await accept(database)
    waiting = await accept(database)

    async def generate(_: ClaimedJob) -> str:
        raise JobFailure(JobError(error_class, "CODE", "slow down"), retry_after_seconds=asked)

    worker = Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS)
    begun = database_time(sql)
    await worker.process(1, force=False)
    record = await row(database, job_id)
    assert (record["state"], record["attempt"], record["error"]["class"]) == ("RETRYING", 0, error_class.value)
    assert await image_queue(database, "other").claim(5, 60) == []
    assert (await row(database, waiting))["state"] == "QUEUED"
    assert_hidden(sql, begun, seconds)


async def test_a_job_that_finds_the_gate_closed_goes_back_without_an_attempt(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accept(database)

    async def generate(_: ClaimedJob) -> str:
        raise GateClosedError(12.3)

    begun = database_time(sql)
    await Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS).process(1, force=False)
    record = await row(database, job_id)
    assert (record["state"], record["attempt"]) == ("QUEUED", 0)
    assert_hidden(sql, begun, 12.3)


def test_waits_double_with_each_attempt_are_jittered_in_full_and_end_at_ten_minutes() -> None:
    longest = [backoff_seconds(tries, 10, BACKOFF_MAX_SECONDS, kept_share=1) for tries in (0, 1, 2, 3, 4, 50)]
    assert longest == [10, 10, 20, 40, 80, BACKOFF_MAX_SECONDS]
    drawn = [backoff_seconds(3, 10, BACKOFF_MAX_SECONDS, kept_share=0) for _ in range(200)]
    assert 0 <= min(drawn) < 10
    assert 30 < max(drawn) <= 40
    kept = [backoff_seconds(3, 10, BACKOFF_MAX_SECONDS) for _ in range(200)]
    assert 20 <= min(kept) < 25
    assert 35 < max(kept) <= 40


@pytest.mark.parametrize("until", ["infinity", "2126-01-01"])
async def test_a_gate_closed_for_ever_stops_neither_claims_nor_lists(
    database: Database, sql: psycopg.Connection, until: str
) -> None:
    work = image_queue(database)
    await accept(database)
    other = await accept(database, model="other")
    sql.execute("insert into superstoryboard.gates values ('google', 'm', %s, 'R')", (until,))
    (job,) = await work.claim(5, 60)
    assert job.id == other
    (gate,) = await JobStore(database).gates()
    assert gate["closed_until"].year >= 2126
    queues = await JobStore(database).queues()
    assert {queue["name"]: queue["due"] for queue in queues if queue["due"]} == {IMAGE_QUEUE: 1}
    await accept(database)
    sql.execute("delete from superstoryboard.gates")
    (free,) = await work.claim(1, 60)
    sql.execute("insert into superstoryboard.gates values ('google', 'm', %s, 'R')", (until,))
    opened = await open_call(database, free, per_minute=5)
    assert opened.call_id is None
    assert 0 < opened.wait_seconds <= 86_400
    assert await work.release(free, int(opened.wait_seconds), "waits")


@pytest.mark.parametrize("asked", [3.2e9, float("inf"), float("nan")])
async def test_a_provider_that_asks_for_an_endless_pause_is_asked_again_after_a_day(
    database: Database, sql: psycopg.Connection, asked: float
) -> None:
    job_id = await accept(database)
    begun = database_time(sql)

    async def generate(_: ClaimedJob) -> str:
        raise JobFailure(JobError(ErrorClass.RATE_LIMITED, "CODE", "slow down"), retry_after_seconds=asked)

    await Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS).process(1, force=False)
    assert (await row(database, job_id))["state"] == "RETRYING"
    assert_hidden(sql, begun, 86_400)


async def test_closing_for_ever_is_closing_for_a_year(database: Database, sql: psycopg.Connection) -> None:
    await image_queue(database).close_gate("m", float("inf"), "R")
    closed = "select closed_until between now() + interval '364 days' and now() + interval '366 days'"
    assert sql.execute(f"{closed} from superstoryboard.gates").fetchone() == (True,)
