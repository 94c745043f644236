"""The pool's own promises: what is cancelled stays cancelled."""

from __future__ import annotations

import asyncio

from superstoryboard.jobs.database import Database

TICKS = 60


async def test_a_cancel_that_meets_the_free_connection_is_not_lost(database_url: str) -> None:
    database = await Database.connect(database_url, name="test", pool_size=1)
    await database.fetch("select 1")
    lost = []
    for ticks in range(TICKS):
        holding = asyncio.create_task(database.fetch("select pg_sleep(0.01)"))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(database.fetch("select 1"))
        await asyncio.wait({holding})
        for _ in range(ticks):
            await asyncio.sleep(0)
        cancelled = waiting.cancel()
        await asyncio.wait({waiting})
        if cancelled and not waiting.cancelled():
            lost.append(ticks)
    await database.aclose()
    assert lost == []
