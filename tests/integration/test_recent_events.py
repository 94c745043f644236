"""However many watch, the log is read once; whoever falls behind misses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, Wakeups
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.events import EventLog, EventSelection
from superstoryboard.jobs.recent_events import RecentEvents
from tests.integration.helpers import accept

WATCHERS = 50
JOBS = 20


class CountingDatabase(Database):
    """A real pool that counts how often events are read."""

    event_reads = 0

    async def fetch(self, statement: Any, *values: Any, **options: Any) -> list[dict[str, Any]]:
        if statement.startswith("select * from superstoryboard.job_events"):
            self.event_reads += 1
        return await super().fetch(statement, *values, **options)


@pytest.fixture
async def counting(database_url: str) -> AsyncIterator[CountingDatabase]:
    opened = await CountingDatabase.connect(database_url, name="test", pool_size=5)
    yield opened
    await opened.aclose()


async def collect(log: EventLog, selection: EventSelection, quantity: int) -> list[int]:
    sequences: list[int] = []
    async for page in log.follow(selection, 0):
        sequences += [row["sequence"] for row in page.rows]
        if len(sequences) >= quantity:
            return sequences
    raise AssertionError("the log ended")


async def test_many_watchers_share_one_read(database: Database, database_url: str, counting: CountingDatabase) -> None:
    wakeups = Wakeups(database_url, EVENTS_CHANNEL)
    feed = EventFeed(counting, wakeups)
    log = EventLog(counting, feed)
    duties = [asyncio.create_task(wakeups.run()), asyncio.create_task(feed.run())]
    await feed.start()
    boards = [EventSelection([], f"board-{number % 2}", None) for number in range(WATCHERS)]
    watchers = [asyncio.create_task(collect(log, selection, JOBS // 2)) for selection in boards]
    for number in range(JOBS):
        await accept(database, generation={"storyboardId": f"board-{number % 2}"})
        await feed.wait_past(number, 30)
    sequences = await asyncio.gather(*watchers)
    assert {tuple(each) for each in sequences} == {tuple(range(1, JOBS, 2)), tuple(range(2, JOBS + 1, 2))}
    assert counting.event_reads <= 2 * JOBS
    for duty in duties:
        duty.cancel()
    await asyncio.gather(*duties, return_exceptions=True)


async def test_what_is_no_longer_kept_is_not_given(database: Database) -> None:
    for _ in range(25):
        await accept(database)
    recent = RecentEvents(database, kept=10)
    assert await recent.between(0, 5) is not None, "all so far"
    rows = await recent.between(3, 8)
    assert rows is not None
    assert [row["sequence"] for row in rows] == [4, 5, 6, 7, 8]
    assert await recent.between(0, 15) is None, "only the last ten are kept"
    newest = await recent.between(15, 25)
    assert newest is not None
    assert [row["sequence"] for row in newest] == list(range(16, 26))
    assert await recent.between(14, 25) is None
    older = await recent.between(17, 20)
    assert older is not None
    assert [row["sequence"] for row in older] == [18, 19, 20]


async def test_after_a_long_time_without_watchers_only_the_newest_are_read(
    database: Database, counting: CountingDatabase
) -> None:
    for _ in range(30):
        await accept(database)
    recent = RecentEvents(counting, kept=10)
    assert await recent.between(0, 30) is None
    newest = await recent.between(25, 30)
    assert newest is not None
    assert [row["sequence"] for row in newest] == list(range(26, 31))
    assert counting.event_reads == 1
