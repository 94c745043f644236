"""The event log has no gaps for a watcher (SPEC G4), whatever the order of commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from devstack.stack.postgres import Postgres
from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, Wakeups
from superstoryboard.jobs.event_feed import EventFeed, Tail
from superstoryboard.jobs.events import EventLog, EventSelection, EventsPrunedError
from superstoryboard.jobs.feeds import EventFeedPosition
from superstoryboard.telemetry.feed_metrics import GapMetrics
from superstoryboard.telemetry.metrics import new_registry
from tests.conftest import admin
from tests.integration.helpers import accept, claim_one, image_queue

BOARD = EventSelection([], "board", None)


@pytest.fixture
async def log(database: Database, database_url: str) -> AsyncIterator[EventLog]:
    wakeups = Wakeups(database_url, EVENTS_CHANNEL)
    feed = EventFeed(database, wakeups)
    tasks = [asyncio.create_task(wakeups.run()), asyncio.create_task(feed.run())]
    yield EventLog(database, feed)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def collect(log: EventLog, count: int, after: int = 0) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async for page in log.follow(BOARD, after):
        rows += page.rows
        if len(rows) >= count:
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
    async for page in log.follow(EventSelection([], "board", "alice"), 0):
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


async def test_transactions_that_write_no_events_delay_nobody(
    database: Database, database_url: str, log: EventLog, postgres: Postgres
) -> None:
    """One in another database, one that only reads, one that writes elsewhere: all open, each with an id."""
    admin(postgres, "create database elsewhere")
    job_id = await accept(database)
    async with (
        await psycopg.AsyncConnection.connect(postgres.url_of("elsewhere")) as foreign,
        await psycopg.AsyncConnection.connect(database_url) as reader,
        await psycopg.AsyncConnection.connect(database_url) as other,
        await psycopg.AsyncConnection.connect(database_url) as lost,
    ):
        await foreign.execute("create table t (n int); insert into t values (1)")
        await reader.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await reader.execute("select count(*), pg_current_xact_id() from superstoryboard.job_events")
        await other.execute("create table mine (n int); insert into mine values (1)")
        await lost.execute(
            "select superstoryboard.emit_event(j, 'x') from superstoryboard.jobs j where id = %s", (job_id,)
        )
        await accept(database)
        await lost.rollback()
        assert [row["message"] for row in await collect(log, 2)] == ["Accepted", "Accepted"]
    admin(postgres, "drop database elsewhere with (force)")


async def test_watchers_go_on_without_a_writer_that_stays_open_and_say_so(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("superstoryboard.jobs.event_feed.GAP_LIMIT_SECONDS", 0.2)
    registry = new_registry()
    wakeups = Wakeups(database_url, EVENTS_CHANNEL)
    job_id = await accept(database)
    async with await psycopg.AsyncConnection.connect(database_url) as stuck:
        write = "select superstoryboard.emit_event(j, 'stuck') from superstoryboard.jobs j where id = %s"
        await stuck.execute(write, (job_id,))
        feed = EventFeed(database, wakeups, GapMetrics(registry))
        running = asyncio.create_task(feed.run())
        await accept(database)
        log = EventLog(database, feed)
        assert [row["message"] for row in await collect(log, 2)] == ["Accepted", "Accepted"]
        await stuck.execute(write, (job_id,))
        await accept(database)
        assert len(await collect(log, 3)) == 3, "it is not waited for again"
        await stuck.rollback()
    assert registry.get_sample_value("superstoryboard_events_passed_gaps_total") == 1
    assert "stays open" in capsys.readouterr().out
    running.cancel()
    await asyncio.wait({running})


async def test_who_may_miss_nothing_begins_after_a_writer_that_stays_open(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superstoryboard.jobs.event_feed.GAP_LIMIT_SECONDS", 0.2)
    feed = EventFeed(database, Wakeups(database_url, EVENTS_CHANNEL))
    async with await psycopg.AsyncConnection.connect(database_url) as open_long:
        await open_long.execute("select pgmq.send('image_generation_queue', '{}')")
        await accept(database)
        running, starting = asyncio.create_task(feed.run()), asyncio.create_task(feed.start())
        given = await feed.wait_past(1, 60)
        await accept(database)
        assert given is not None
        assert await feed.wait_past(given, 60) is not None, "watchers continue"
        assert not starting.done()
        await open_long.commit()
    assert await starting >= given
    running.cancel()
    await asyncio.wait({running})


async def test_a_watch_from_before_the_deleted_events_is_told(database: Database, log: EventLog) -> None:
    await accept(database)
    await accept(database)
    first, second = await collect(log, 2)
    await database.fetch("delete from superstoryboard.job_events where sequence = %(s)s", {"s": second["sequence"]})
    with pytest.raises(EventsPrunedError) as raised:
        await collect(log, 1, after=first["sequence"])
    assert raised.value.oldest == second["sequence"]
    fresh = EventLog(database, log._feed)
    assert len(await collect(fresh, 1)) == 1, "after 0 means from the oldest that is kept"
    await accept(database)
    assert len(await collect(log, 1, after=raised.value.oldest)) == 1


NOBODY: frozenset[str] = frozenset()
A, B = frozenset({"3/1"}), frozenset({"4/1"})


def test_a_tail_passes_a_gap_only_when_all_who_could_fill_it_have_ended() -> None:
    tail = Tail(10)
    assert tail.advance([11, 13], NOBODY) == 11
    assert tail.waits
    assert tail.advance([13, 14], A | B) == 11
    assert tail.advance([13, 14], B) == 11
    assert tail.advance([12, 13, 14], B) == 14, "a gap that is filled waits for nobody"
    assert tail.advance([16], NOBODY) == 14
    assert tail.advance([16], A) == 14
    assert tail.advance([16], B) == 16, "who came later cannot fill it"


def test_a_tail_asks_anew_about_a_gap_that_it_had_not_seen() -> None:
    tail = Tail(10)
    assert tail.advance([12], NOBODY) == 10
    assert tail.advance([12, 14], NOBODY) == 12, "whoever is to write 13 may have begun after the question"
    assert tail.advance([14], NOBODY) == 14


async def test_a_feed_is_told_of_events_that_were_deleted_before_it_published_them(database: Database) -> None:
    await accept(database)
    feed = EventFeedPosition(database, "test")
    assert await feed.pruned_after(0) is None
    row = await database.fetch_one("delete from superstoryboard.job_events returning sequence")
    assert await feed.pruned_after(row["sequence"] - 1) == row["sequence"]
    assert await feed.pruned_after(row["sequence"]) is None
