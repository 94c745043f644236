"""Follows the event log without skipping: numbers are drawn before they commit, so a lower one may appear later.

A hole is passed only when every transaction that could still fill it has ended: those running when the hole was first
seen had ids below the snapshot's xmax, and all of them have ended once xmin has reached it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from superstoryboard.jobs.database import Database, DatabaseUnavailableError
from superstoryboard.jobs.recent_events import RecentEvents
from superstoryboard.queue.wakeups import Wakeups
from superstoryboard.telemetry.logs import get_logger

PAGE = 1000
IDLE_SECONDS = 1.0
HOLE_SECONDS = 0.02
WATCH_PATIENCE_SECONDS = 60.0

log = get_logger("events")


class Tail:
    """Decides how far a log may be read. `position` is the last sequence up to which all is known."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._hole_until: int | None = None

    def advance(self, sequences: list[int], xmin: int, xmax: int) -> int:
        """Take the visible sequences after the position, rising, and their snapshot; answer the new position."""
        for sequence in sequences:
            if sequence != self.position + 1 and not self._hole_is_settled(xmin, xmax):
                break
            self.position = sequence
            self._hole_until = None
        return self.position

    @property
    def waits(self) -> bool:
        """True while a hole holds the tail back."""
        return self._hole_until is not None

    def _hole_is_settled(self, xmin: int, xmax: int) -> bool:
        if self._hole_until is None:
            self._hole_until = xmax
        return xmin >= self._hole_until


class EventFeed:
    """One reader of the log per process; any number of watchers wait for its position."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups
        self._tail: Tail | None = None
        self._moved = asyncio.Condition()
        self._started = asyncio.Event()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while True:
            try:
                moved = await self._step()
            except DatabaseUnavailableError:
                moved = False
            if self._tail is not None and self._tail.waits:
                await asyncio.sleep(HOLE_SECONDS)
            elif not moved:
                await self._wakeups.wait(IDLE_SECONDS)

    async def _step(self) -> bool:
        if self._tail is None:
            self._tail = Tail(await self._start())
            self._started.set()
        before = self._tail.position
        rows = await self._database.fetch(
            "select s.xmin, s.xmax, e.sequence from"
            " (select pg_snapshot_xmin(x)::text::bigint as xmin, pg_snapshot_xmax(x)::text::bigint as xmax"
            "  from pg_current_snapshot() as x) s"
            " left join lateral (select sequence from superstoryboard.job_events"
            "  where sequence > %(position)s order by sequence limit %(page)s) e on true order by e.sequence",
            {"position": before, "page": PAGE},
        )
        sequences = [row["sequence"] for row in rows if row["sequence"] is not None]
        self._tail.advance(sequences, rows[0]["xmin"], rows[0]["xmax"])
        if self._tail.position == before:
            return False
        async with self._moved:
            self._moved.notify_all()
        return True

    async def _start(self) -> int:
        """A position below which all is known: the newest sequence, once everything that ran beside it has ended."""
        first = await self._database.fetch_one(
            "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xmax,"
            " coalesce((select max(sequence) from superstoryboard.job_events), 0) as newest"
        )
        while True:
            row = await self._database.fetch_one("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin")
            if row["xmin"] >= first["xmax"]:
                return int(first["newest"])
            await asyncio.sleep(HOLE_SECONDS)

    async def wait_past(self, sequence: int, timeout_seconds: float) -> int | None:
        """The position once it is past `sequence`; None where it is not within the time."""
        async with self._moved:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._moved.wait_for(lambda: self._tail is not None and self._tail.position > sequence)
            except TimeoutError:
                return None
        return self.position

    async def start(self) -> int:
        """The position, once there is one: the first look waits for the database."""
        await self._started.wait()
        return self.position

    @property
    def position(self) -> int:
        """The last sequence that watchers may be given."""
        return self._tail.position if self._tail is not None else 0


@dataclass(frozen=True)
class Wanted:
    """Whose events: these jobs, or all of a storyboard; `owner` None sees every owner's."""

    job_ids: list[UUID]
    storyboard_id: str
    owner: str | None

    def values(self) -> dict[str, Any]:
        """Values of a statement that asks for them."""
        return {"jobs": self.job_ids, "storyboard": self.storyboard_id, "owner": self.owner}

    @cached_property
    def _jobs(self) -> frozenset[UUID]:
        return frozenset(self.job_ids)

    def pick(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those among the events of everyone."""
        return [
            row
            for row in rows
            if (
                row["job_id"] in self._jobs or (self.storyboard_id != "" and row["storyboard_id"] == self.storyboard_id)
            )
            and (self.owner is None or row["owner"] == self.owner)
        ]


@dataclass(frozen=True)
class Page:
    """Some events, rising; with it every event up to `position` was given."""

    rows: list[dict[str, Any]]
    position: int


class EventLog:
    """Events of some jobs, read up to the feed's position."""

    def __init__(self, database: Database, feed: EventFeed) -> None:
        self._database = database
        self._feed = feed
        self._recent = RecentEvents(database)

    async def follow(self, wanted: Wanted, after: int) -> AsyncIterator[Page]:
        """Pages of events after a sequence, past ones first, then live; one without events about every second."""
        given = after
        while True:
            position = await self._feed.wait_past(given, IDLE_SECONDS)
            if position is None:
                yield Page([], given)
                continue
            while given < position:
                page = await self._page(wanted, given, position)
                given = page.position
                yield page

    async def _page(self, wanted: Wanted, after: int, until: int) -> Page:
        """From what is read once for all watchers; a watcher that is further behind reads the log by itself."""
        recent = await self._recent.between(after, until)
        if recent is not None:
            return Page(wanted.pick(recent), until)
        rows = await self._read(wanted, after, until)
        return Page(rows, rows[-1]["sequence"] if len(rows) == PAGE else until)

    async def is_complete(self, wanted: Wanted, position: int) -> bool:
        """True where every job has ended and none has an event after the position. Asked of one snapshot."""
        row = await self._database.fetch_one(
            "select not exists (select from superstoryboard.jobs"
            "  where (id = any (%(jobs)s::uuid[]) or %(storyboard)s <> '' and storyboard_id = %(storyboard)s)"
            "  and (%(owner)s::text is null or owner = %(owner)s) and ended_at is null)"
            " and not exists (select from superstoryboard.job_events"
            "  where (job_id = any (%(jobs)s::uuid[]) or %(storyboard)s <> '' and storyboard_id = %(storyboard)s)"
            "  and (%(owner)s::text is null or owner = %(owner)s) and sequence > %(position)s) as complete",
            wanted.values() | {"position": position},
            patience_seconds=WATCH_PATIENCE_SECONDS,
        )
        return bool(row["complete"])

    async def _read(self, wanted: Wanted, after: int, until: int) -> list[dict[str, Any]]:
        return await self._database.fetch(
            "select * from superstoryboard.job_events"
            " where sequence > %(after)s and sequence <= %(until)s"
            " and (job_id = any (%(jobs)s::uuid[]) or %(storyboard)s <> '' and storyboard_id = %(storyboard)s)"
            " and (%(owner)s::text is null or owner = %(owner)s)"
            " order by sequence limit %(page)s",
            wanted.values() | {"after": after, "until": until, "page": PAGE},
            patience_seconds=WATCH_PATIENCE_SECONDS,
        )
