"""The worker's loop on the real database: slots, leases, endings of attempts, drain (I4, I7)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from superstoryboard.db.database import Database
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.domain.routes import RouteShape
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.jobs.steering import Steering
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.v1.job_pb2 import ImageGeneration
from superstoryboard.worker.attempt.errors import ReleasedError, StillRunningError
from superstoryboard.worker.attempt.generation import Adoption
from superstoryboard.worker.attempt.shapes import failures_of
from superstoryboard.worker.loop import Limits, Worker
from tests.integration.helpers import (
    IMAGE_QUEUE,
    accept,
    claim_one,
    database_time,
    expire_lease,
    first_due,
    image_queue,
    row,
    stage,
    video_queue,
)

LIMITS = Limits(concurrency=2, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)

Generate = Callable[[ClaimedJob], Awaitable[str]]


def make(database: Database, generate: Generate, limits: Limits = LIMITS, listen: str | None = None) -> Worker:
    return Worker(image_queue(database), generate, Wakeups(listen, QUEUE_CHANNEL), limits)


def failing(error: Exception) -> Generate:
    async def generate(_: ClaimedJob) -> str:
        raise error

    return generate


def failure(error_class: ErrorClass) -> JobFailure:
    return JobFailure(JobError(error_class, "CODE", "it did not work", ("4711",)))


async def test_never_more_than_its_slots_at_once_and_all_in_the_end(database: Database) -> None:
    running = most = 0

    async def generate(job: ClaimedJob) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await stage(database, job)
        running -= 1
        return "STAGED"

    ids = [await accept(database) for _ in range(7)]
    attempts = await make(database, generate).process(10, force=False)
    assert [attempt.job.id for attempt in attempts] == ids
    assert most == 2


async def test_process_takes_no_more_than_it_was_asked_for(database: Database) -> None:
    for _ in range(4):
        await accept(database)
    attempts = await make(database, failing(failure(ErrorClass.REFUSED))).process(3, force=False)
    assert len(attempts) == 3
    assert len(await image_queue(database).claim(5, 60)) == 1


@pytest.mark.parametrize(
    ("error", "state", "attempt"),
    [
        (failure(ErrorClass.REFUSED), "FAILED", 1),
        (failure(ErrorClass.INVALID), "FAILED", 1),
        (failure(ErrorClass.TRANSIENT), "RETRYING", 1),
        (failure(ErrorClass.RATE_LIMITED), "RETRYING", 0),
        (failure(ErrorClass.QUOTA_EXHAUSTED), "RETRYING", 0),
        (failure(ErrorClass.CONFIG), "RETRYING", 0),
        (failure(ErrorClass.UNKNOWN_OUTCOME), "RETRYING", 1),
        (failure(ErrorClass.UNAVAILABLE_DEPENDENCY), "RETRYING", 0),
        (ValueError("a bug"), "RETRYING", 1),
        (OSError(errno.ENOSPC, "the disk is full"), "RETRYING", 0),
        (ReleasedError(), "QUEUED", 0),
        (StillRunningError(JobError(ErrorClass.TRANSIENT, "VIDEO_TIMED_OUT", "t"), 5), "RETRYING", 0),
    ],
)
async def test_each_failure_ends_the_attempt_as_its_class_says(
    database: Database, error: Exception, state: str, attempt: int
) -> None:
    job_id = await accept(database)
    await make(database, failing(error)).process(1, force=False)
    record = await row(database, job_id)
    assert (record["state"], record["attempt"]) == (state, attempt)
    if isinstance(error, JobFailure):
        assert record["error"]["class"] == error.error.error_class.value
        assert record["error"]["provider_codes"] == ["4711"]


async def test_the_gate_that_closes_is_that_of_the_model_which_a_message_names(
    database: Database, sql: psycopg.Connection
) -> None:
    """The body of an adopted message is read after the claim: whose model it is was not known then."""
    catalogue = Catalogue.load()
    other = next(each.name for each in catalogue.models("image") if each.name != catalogue.default_name("image"))
    body = {"storyboardId": "board", "prompt": "a fox", "model": other}
    sql.execute("select pgmq.send(%s, %s)", (IMAGE_QUEUE, Jsonb(body)))
    adoption = Adoption(image_queue(database), catalogue, catalogue.default_name("image"))

    async def generate(job: ClaimedJob) -> str:
        await adoption.generation(job, ImageGeneration)
        raise failure(ErrorClass.QUOTA_EXHAUSTED)

    await make(database, generate).process(1, force=False)
    assert sql.execute("select model from superstoryboard.gates where closed_until > now()").fetchall() == [(other,)]


async def test_an_unknown_outcome_of_a_video_waits_for_a_person(database: Database) -> None:
    job_id = await accept(database, kind="video")

    async def generate(_: ClaimedJob) -> str:
        with failures_of(RouteShape.OPERATION):
            raise failure(ErrorClass.UNKNOWN_OUTCOME)

    await Worker(video_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS).process(1, force=False)
    assert (await row(database, job_id))["state"] == "DEAD_LETTERED"


async def test_a_failed_attempt_waits_before_it_comes_back(database: Database, sql: psycopg.Connection) -> None:
    await accept(database)
    begun = database_time(sql)
    await make(database, failing(failure(ErrorClass.TRANSIENT))).process(1, force=False)
    assert begun <= first_due(sql) <= database_time(sql) + timedelta(seconds=30)


async def test_a_lost_lease_stops_the_attempt_and_changes_nothing(database: Database) -> None:
    job_id = await accept(database)
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def generate(_: ClaimedJob) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    worker = make(database, generate)
    processing = asyncio.create_task(worker.process(1, force=False))
    await started.wait()
    await worker.leases.beat()
    assert not cancelled.is_set(), "a kept lease stops nobody"
    await expire_lease(database, IMAGE_QUEUE)
    await claim_one(image_queue(database, "other"))
    await worker.leases.beat()
    (attempt,) = await processing
    assert cancelled.is_set()
    assert attempt.state is None
    assert (await row(database, job_id))["worker"] == "other"


async def test_a_job_that_was_handed_over_is_not_said_to_be_lost(database: Database) -> None:
    """The heartbeat comes between the commit of the hand-off and its end, which may publish for a while."""
    job_id = await accept(database)
    staged, go_on = asyncio.Event(), asyncio.Event()

    async def generate(job: ClaimedJob) -> str:
        await stage(database, job)
        staged.set()
        await go_on.wait()
        return "STAGED"

    worker = make(database, generate)
    processing = asyncio.create_task(worker.process(1, force=False))
    await staged.wait()
    await worker.leases.beat()
    assert worker.leases.held == [job_id]
    go_on.set()
    (attempt,) = await processing
    assert attempt.state == "STAGED"


async def test_a_job_that_was_cancelled_is_lost(database: Database) -> None:
    job_id = await accept(database)
    work = image_queue(database)
    job = await claim_one(work)
    assert await work.extend([job], 60) == {job_id}
    await Steering(database).cancel(job_id, owner=None, actor="bob")
    assert await work.extend([job], 60) == set()


async def test_a_worker_never_claims_what_it_holds(database: Database, sql: psycopg.Connection) -> None:
    await accept(database)
    running, go_on = asyncio.Event(), asyncio.Event()
    claims: list[int] = []

    async def generate(job: ClaimedJob) -> str:
        claims.append(job.claim)
        running.set()
        await go_on.wait()
        await stage(database, job)
        return "STAGED"

    worker = make(database, generate)
    (task,) = await worker.take(1, force=False)
    await running.wait()
    await expire_lease(database, IMAGE_QUEUE)
    assert await worker.take(1, force=False) == []
    left = "select extract(epoch from lease_until - clock_timestamp()) > 50 from superstoryboard.turns"
    assert sql.execute(left).fetchall() == [(True,)], "its lease was renewed"
    go_on.set()
    assert (await task).state == "STAGED"
    assert claims == [1]


async def test_a_job_that_ended_its_attempt_a_moment_ago_is_claimed_again(database: Database) -> None:
    await accept(database)
    work = image_queue(database)
    job = await claim_one(work)
    await work.retry(job, 0, JobError(ErrorClass.TRANSIENT, "CODE", "again"), spend=True)
    (again,) = await work.claim(1, 60, held=[job.id])
    assert again.claim == job.claim + 1


async def test_a_heartbeat_extends_every_lease_in_hand(database: Database, sql: psycopg.Connection) -> None:
    for _ in range(2):
        await accept(database)
    all_started = asyncio.Barrier(3)

    async def generate(_: ClaimedJob) -> str:
        await all_started.wait()
        await asyncio.Event().wait()
        raise AssertionError

    worker = make(database, generate)
    processing = asyncio.create_task(worker.process(2, force=False))
    await all_started.wait()
    sql.execute("update superstoryboard.turns set lease_until = now() + interval '1 s'")
    begun = database_time(sql)
    await worker.leases.beat()
    assert first_due(sql) >= begun + timedelta(seconds=worker.limits.lease_seconds)
    processing.cancel()
    await worker.drain_now()


async def test_an_idle_worker_wakes_for_a_message(database: Database, database_url: str) -> None:
    done = asyncio.Event()

    async def generate(job: ClaimedJob) -> str:
        await stage(database, job)
        done.set()
        return "STAGED"

    worker = make(database, generate, listen=database_url)
    wakeups = worker.wakeups
    listening = asyncio.create_task(wakeups.run())
    loop = asyncio.create_task(worker.run())
    await wakeups.wait(5)
    await accept(database)
    await asyncio.wait_for(done.wait(), 60)
    await worker.drain()
    await loop
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
