"""The event log has no gaps for a watcher (SPEC G4), whatever the order of commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from superstoryboard.jobs.database import Database
from superstoryboard.jobs.events import EventFeed, EventLog, Tail, Wanted
from superstoryboard.queue.wakeups import EVENTS_CHANNEL, Wakeups
from tests.integration.helpers import accept, claim_one, image_queue

BOARD = Wanted([], "board", None)


@pytest.fixture
async def log(database: Database, database_url: str) -> AsyncIterator[EventLog]:
    wakeups = Wakeups(database_url, EVENTS_CHANNEL)
    feed = EventFeed(database, wakeups)
    tasks = [asyncio.create_task(wakeups.run()), asyncio.create_task(feed.run())]
    yield EventLog(database, feed)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def collect(log: EventLog, wanted: int, after: int = 0) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async for page in log.follow(BOARD, after):
        rows += page.rows
        if len(rows) >= wanted:
            return rows
    raise AssertionError("the log ended")


async def test_past_events_come_first_then_live_ones(database: Database, log: EventLog) -> None:
    await accept(database)
    watching = asyncio.create_task(collect(log, 2))
    await claim_one(image_queue(database))
    rows = await watching
    assert [row["state"] for row in rows] == ["QUEUED", "RUNNING"]
    assert [row["state"] for row in await collect(log, 1, after=rows[0]["sequence"])] == ["RUNNING"]


async def test_fifty_writers_and_one_watcher_leave_no_gap(database: Database, log: EventLog) -> None:
    watching = asyncio.create_task(collect(log, 500))

    async def writer() -> None:
        for _ in range(10):
            await accept(database)

    await asyncio.gather(*(writer() for _ in range(50)))
    rows = await watching
    sequences = [row["sequence"] for row in rows]
    assert len(rows) == 500
    assert sequences == sorted(set(sequences))


async def test_an_event_that_commits_late_is_not_skipped(database: Database, database_url: str, log: EventLog) -> None:
    job_id = await accept(database)
    await collect(log, 1)
    feed = EventFeed(database, Wakeups(None, EVENTS_CHANNEL))
    await feed._step()
    before = feed.position
    async with await psycopg.AsyncConnection.connect(database_url) as slow:
        await slow.execute(
            "select superstoryboard.emit_event(j, 'slow') from superstoryboard.jobs j where id = %s", (job_id,)
        )
        await accept(database)
        watching = asyncio.create_task(collect(log, 3))
        await feed._step()
        assert feed.position == before, "the later event must wait for the earlier one"
        await slow.commit()
    assert [row["message"] for row in await watching] == ["Accepted", "slow", "Accepted"]


async def test_a_transaction_that_rolls_back_leaves_a_hole_that_is_passed(
    database: Database, database_url: str, log: EventLog
) -> None:
    job_id = await accept(database)
    await collect(log, 1)
    async with await psycopg.AsyncConnection.connect(database_url) as slow:
        await slow.execute(
            "select superstoryboard.emit_event(j, 'lost') from superstoryboard.jobs j where id = %s", (job_id,)
        )
        await slow.rollback()
    await accept(database)
    assert [row["message"] for row in await collect(log, 2)] == ["Accepted", "Accepted"]


async def test_watchers_see_only_their_owner(database: Database, log: EventLog) -> None:
    await accept(database, owner="bob")
    await accept(database)
    async for page in log.follow(Wanted([], "board", "alice"), 0):
        if page.rows:
            assert {row["owner"] for row in page.rows} == {"alice"}
            return


async def test_a_log_is_complete_only_when_the_last_events_were_given(
    database: Database, database_url: str, log: EventLog
) -> None:
    job_id = await accept(database)
    other = await accept(database, generation={"storyboardId": "other"})
    (accepted,) = await collect(log, 1)
    async with await psycopg.AsyncConnection.connect(database_url) as slow:
        await slow.execute(
            "select superstoryboard.emit_event(j, 'slow') from superstoryboard.jobs j where id = %s", (other,)
        )
        await database.fetch("select superstoryboard.cancel_job_v1(%(id)s, null, 'alice')", {"id": job_id})
        assert not await log.is_complete(BOARD, accepted["sequence"]), "ended, but nobody was told"
        await slow.commit()
    ended = (await collect(log, 2))[-1]
    assert ended["state"] == "CANCELLED"
    assert await log.is_complete(BOARD, ended["sequence"])
    await accept(database)
    assert not await log.is_complete(BOARD, ended["sequence"] + 10)


def test_a_tail_passes_a_hole_only_when_all_who_could_fill_it_have_ended() -> None:
    tail = Tail(10)
    assert tail.advance([11, 13], xmin=100, xmax=105) == 11
    assert tail.advance([13, 14], xmin=104, xmax=110) == 11
    assert tail.waits
    assert tail.advance([12, 13, 14], xmin=104, xmax=110) == 14
    assert tail.advance([16], xmin=110, xmax=112) == 14
    assert tail.advance([16], xmin=112, xmax=112) == 16
    assert not tail.waits
