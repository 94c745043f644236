"""Events of some jobs, as watchers read them: past ones first, then live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, LiteralString
from uuid import UUID

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements
from superstoryboard.jobs.event_feed import IDLE_SECONDS, PAGE, EventFeed
from superstoryboard.jobs.recent_events import RecentEvents

WATCH_PATIENCE_SECONDS = 60.0


class Sql(Statements):
    """Statements of events.sql."""

    pruned_sequence: LiteralString
    is_complete: LiteralString
    selected_events: LiteralString


class EventsPrunedError(Exception):
    """Events after the asked-for sequence were deleted, their time being over; a watch after `oldest` misses none."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"events up to sequence {oldest} were deleted after their retention time")
        self.oldest = oldest


@dataclass(frozen=True)
class EventSelection:
    """Whose events: these jobs, or all of a storyboard; `owner` None sees every owner's.

    Of `readable` storyboards the events of others are there too.
    """

    job_ids: list[UUID]
    storyboard_id: str
    owner: str | None
    readable: frozenset[str] = frozenset()

    def values(self) -> dict[str, Any]:
        """Values of a statement that asks for them."""
        return {
            "jobs": self.job_ids,
            "storyboard": self.storyboard_id,
            "owner": self.owner,
            "readable": list(self.readable),
        }

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
            and (self.owner is None or row["owner"] == self.owner or row["storyboard_id"] in self.readable)
        ]


@dataclass(frozen=True)
class Page:
    """Some events, rising; with it every event up to `position` was given."""

    rows: list[dict[str, Any]]
    position: int


async def pruned_sequence(database: Database, patience_seconds: float) -> int:
    """The sequence up to which events were deleted, their time being over; 0 where none were."""
    row = await database.fetch_one(Sql.pruned_sequence, patience_seconds=patience_seconds)
    return int(row["sequence"])


class EventLog:
    """Events of some jobs, read up to the feed's position."""

    def __init__(self, database: Database, feed: EventFeed) -> None:
        self._database = database
        self._feed = feed
        self._recent = RecentEvents(database)

    async def follow(self, selection: EventSelection, after: int) -> AsyncIterator[Page]:
        """Pages of events after a sequence, past ones first, then live; one without events about every second.

        After 0 means from the oldest that is kept.

        Raises:
            EventsPrunedError: events after the sequence are gone, so that some might be missed.
        """
        await self._check_kept(after)
        sequence = after
        while True:
            position = await self._feed.wait_past(sequence, IDLE_SECONDS)
            if position is None:
                yield Page([], sequence)
                continue
            while sequence < position:
                page = await self._page(selection, sequence, position)
                sequence = page.position
                yield page

    async def _page(self, selection: EventSelection, after: int, until: int) -> Page:
        """From what is read once for all watchers; a watcher that is further behind reads the log by itself."""
        recent = await self._recent.between(after, until)
        if recent is not None:
            return Page(selection.pick(recent), until)
        rows = await self._read(selection, after, until)
        return Page(rows, rows[-1]["sequence"] if len(rows) == PAGE else until)

    async def _check_kept(self, after: int) -> None:
        if after == 0:
            return
        pruned = await pruned_sequence(self._database, WATCH_PATIENCE_SECONDS)
        if after < pruned:
            raise EventsPrunedError(pruned)

    async def is_complete(self, selection: EventSelection, position: int) -> bool:
        """True where every job has ended and none has an event after the position. Asked of one snapshot."""
        row = await self._database.fetch_one(
            Sql.is_complete,
            selection.values() | {"position": position},
            patience_seconds=WATCH_PATIENCE_SECONDS,
        )
        return bool(row["complete"])

    async def _read(self, selection: EventSelection, after: int, until: int) -> list[dict[str, Any]]:
        return await self._database.fetch(
            Sql.selected_events,
            selection.values() | {"after": after, "until": until, "page": PAGE},
            patience_seconds=WATCH_PATIENCE_SECONDS,
        )
