"""A database that is away at the end of an attempt: the lease ends by itself, and the job comes back unharmed (C3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.jobs import queue
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.worker import loop
from superstoryboard.worker.loop import Limits, Worker
from tests.integration.helpers import IMAGE_QUEUE, accept, expire_lease, image_queue, row
from tests.logs import awaited_logs

pytestmark = pytest.mark.usefixtures("impatient")
LIMITS = Limits(concurrency=1, lease_seconds=60, drain_seconds=0, retry_delay_seconds=30)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker asks for a minute before it leaves a job to its lease."""
    monkeypatch.setattr(queue, "PATIENCE_SECONDS", 0.1)


@contextmanager
def away(sql: psycopg.Connection) -> Iterator[None]:
    """Our schema is not there, as before the migrations of a restored database."""
    sql.execute("alter schema superstoryboard rename to elsewhere")
    try:
        yield
    finally:
        sql.execute("alter schema elsewhere rename to superstoryboard")


@pytest.mark.parametrize("error", [ValueError("a bug"), DatabaseUnavailableError()])
async def test_an_end_that_cannot_be_recorded_leaves_the_job_to_its_lease(
    database: Database, sql: psycopg.Connection, error: Exception
) -> None:
    job_id = await accept(database)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def generate(_: ClaimedJob) -> str:
        started.set()
        await go_on.wait()
        raise error

    worker = Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS)
    processing = asyncio.create_task(worker.process(1, force=False))
    await started.wait()
    with away(sql):
        go_on.set()
        (attempt,) = await processing
    assert attempt.state is None
    assert (await row(database, job_id))["state"] == "RUNNING"
    await expire_lease(database, IMAGE_QUEUE)
    (again,) = await image_queue(database, "another").claim(1, 60)
    assert (again.id, again.claim) == (job_id, 2)


async def test_a_drain_without_the_database_ends_all_the_same(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    started = asyncio.Event()

    async def generate(_: ClaimedJob) -> str:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    worker = Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS)
    processing = asyncio.create_task(worker.process(1, force=False))
    await started.wait()
    with away(sql):
        await worker.drain()
        (attempt,) = await processing
    assert attempt.state is None
    assert (await row(database, job_id))["state"] == "RUNNING"


async def test_a_worker_goes_on_taking_jobs_when_the_database_is_back(
    database: Database, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DATABASE_RETRY_SECONDS", 0.02)
    job_id, worked = await accept(database), asyncio.get_running_loop().create_future()

    async def generate(job: ClaimedJob) -> str:
        worked.set_result(job.id)
        return "STAGED"

    worker = Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS)
    with away(sql), awaited_logs() as lines:
        running = asyncio.create_task(worker.run())
        await lines.first()
    async with asyncio.timeout(60):
        assert await worked == job_id
    await worker.drain()
    await running


async def test_jobs_that_a_drain_cannot_give_back_become_due_by_their_lease(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accept(database)

    async def generate(_: ClaimedJob) -> str:
        raise AssertionError

    worker = Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), LIMITS)
    jobs = await image_queue(database).claim(1, 60)
    with away(sql), awaited_logs() as lines:
        await worker._endings.never_started(jobs)
    assert "A job could not be released; it becomes due again when its lease ends" in [
        line["event"] for line in lines.all
    ]
    assert await released_by_lease(database) == job_id


async def released_by_lease(database: Database) -> UUID:
    """The job that another worker claims once the lease has ended."""
    await expire_lease(database, IMAGE_QUEUE)
    (again,) = await image_queue(database, "another").claim(1, 60)
    assert again.claim == 2
    return again.id
