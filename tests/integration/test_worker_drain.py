"""The end of a worker: what runs may end, what does not is given back (I7)."""

from __future__ import annotations

import asyncio

from superstoryboard.db.database import Database
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.worker.loop import Limits
from tests.integration.helpers import accept, image_queue, row, stage
from tests.integration.test_worker_loop import make


async def test_a_drain_lets_attempts_end_and_takes_no_more(database: Database) -> None:
    for _ in range(3):
        await accept(database)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def generate(job: ClaimedJob) -> str:
        started.set()
        await go_on.wait()
        await stage(database, job)
        return "STAGED"

    worker = make(database, generate)
    loop = asyncio.create_task(worker.run())
    await started.wait()
    draining = asyncio.create_task(worker.drain())
    await worker.draining.wait()
    go_on.set()
    await draining
    await loop
    states = await database.fetch("select state from superstoryboard.jobs order by created_at")
    assert [each["state"] for each in states] == ["STAGED", "STAGED", "QUEUED"]


async def test_the_end_of_the_drain_time_releases_without_spending(database: Database) -> None:
    job_id = await accept(database)
    started = asyncio.Event()

    async def generate(_: ClaimedJob) -> str:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    limits = Limits(concurrency=1, lease_seconds=60, drain_seconds=0.05, retry_delay_seconds=30)
    worker = make(database, generate, limits)
    loop = asyncio.create_task(worker.run())
    await started.wait()
    await worker.drain()
    await loop
    record = await row(database, job_id)
    assert (record["state"], record["attempt"]) == ("QUEUED", 0)
    assert len(await image_queue(database).claim(1, 60)) == 1, "released at once, not when the lease ends"
