"""For whom the watchers wait: for those who may still write events, and for them only so long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import LiteralString

import psycopg
import pytest

from devstack.stack.postgres import Postgres
from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, Wakeups
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.telemetry.feed_metrics import GapMetrics
from superstoryboard.telemetry.metrics import new_registry
from tests.conftest import TEMPLATE, admin
from tests.integration.helpers import accept

SEND = "select pgmq.send('image_generation_queue', '{}')"
PASSED = "superstoryboard_events_passed_gaps_total"


@pytest.fixture
def twin_url(postgres: Postgres) -> Iterator[str]:
    """Another migrated database of the server: its tables have the object ids that ours have."""
    admin(postgres, f"create database twin template {TEMPLATE}")
    yield postgres.url_of("twin")
    admin(postgres, "drop database twin with (force)")


@asynccontextmanager
async def left_open(url: str, statement: LiteralString) -> AsyncIterator[psycopg.AsyncConnection]:
    """A transaction that ran a statement, and is rolled back at the end."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(statement)
        yield connection
        await connection.rollback()


@asynccontextmanager
async def running(feed: EventFeed) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run())
    yield
    task.cancel()
    await asyncio.wait({task})


async def leave_a_gap(database: Database, url: str) -> int:
    """A number of an event that nobody will ever use, and an event behind it; the sequence of that one."""
    async with left_open(url, SEND):
        await accept(database)
    newest = await database.fetch_one("select max(sequence) as sequence from superstoryboard.job_events")
    return int(newest["sequence"])


@pytest.mark.parametrize("elsewhere", [True, False], ids=["writes in another database", "reads the events"])
async def test_who_cannot_write_events_is_not_waited_for(
    database: Database, database_url: str, twin_url: str, elsewhere: bool
) -> None:
    registry = new_registry()
    feed = EventFeed(database, Wakeups(database_url, EVENTS_CHANNEL), GapMetrics(registry))
    url, statement = (twin_url, SEND) if elsewhere else (database_url, "select from superstoryboard.job_events")
    async with left_open(url, statement), running(feed):
        await feed.start()
        newest = await leave_a_gap(database, database_url)
        assert await feed.wait_past(newest - 1, 120) == newest
    assert registry.get_sample_value(PASSED) == 0, "it is the gap that closed, and not the patience that ended"


@pytest.mark.timeout(60)
async def test_a_writer_that_stays_open_holds_a_live_watch_for_a_bounded_time(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superstoryboard.jobs.event_feed.GAP_LIMIT_SECONDS", 0.2)
    registry = new_registry()
    feed = EventFeed(database, Wakeups(database_url, EVENTS_CHANNEL), GapMetrics(registry))
    async with running(feed):
        await feed.start()
        async with left_open(database_url, SEND):
            await accept(database)
            newest = await database.fetch_one("select max(sequence) as sequence from superstoryboard.job_events")
            assert await feed.wait_past(newest["sequence"] - 1, 300) == newest["sequence"]
            assert registry.get_sample_value(PASSED) == 1
