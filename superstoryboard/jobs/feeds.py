"""The event log as a feed to a broker: where it stands is kept in the database, and one process at a time moves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from superstoryboard.db.database import Database
from superstoryboard.jobs.events import Page

PAGE = 200
LEASE_SECONDS = 10.0
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class FeedLease:
    """Whether this process holds the feed, and the sequence up to which the broker has confirmed events."""

    held: bool
    last_sequence: int


class EventFeedPosition:
    """One feed, as one process sees it. Every step may run twice."""

    def __init__(self, database: Database, name: str, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._values: dict[str, Any] = {"name": name, "holder": uuid4(), "lease": lease_seconds}

    async def hold(self, start: int) -> FeedLease:
        """Take or keep the lease where nobody else has it. A feed that is new begins after `start`."""
        row = await self._database.fetch_one(
            "select held, last_sequence from superstoryboard.hold_event_feed_v1("
            "%(name)s, %(holder)s, %(start)s, %(lease)s)",
            self._values | {"start": start},
            patience_seconds=PATIENCE_SECONDS,
        )
        return FeedLease(**row)

    async def advance(self, sequence: int) -> bool:
        """Record that the broker has confirmed every event up to this one. False where another holds the feed."""
        row = await self._database.fetch_one(
            "select superstoryboard.advance_event_feed_v1(%(name)s, %(holder)s, %(sequence)s, %(lease)s) as held",
            self._values | {"sequence": sequence},
            patience_seconds=PATIENCE_SECONDS,
        )
        return bool(row["held"])

    async def release(self) -> None:
        """Let another process go on at once."""
        await self._database.fetch("select superstoryboard.release_event_feed_v1(%(name)s, %(holder)s)", self._values)

    async def pruned_after(self, sequence: int) -> int | None:
        """The sequence up to which events after this one were deleted, or None where none were."""
        row = await self._database.fetch_one(
            "select coalesce(max(pruned_sequence), 0) as oldest from superstoryboard.event_log",
            patience_seconds=PATIENCE_SECONDS,
        )
        return row["oldest"] if sequence < row["oldest"] else None

    async def read(self, after: int, until: int) -> Page:
        """Some events of every owner, each with the kind of its job."""
        rows = await self._database.fetch(
            "select e.*, j.kind from superstoryboard.job_events e join superstoryboard.jobs j on j.id = e.job_id"
            " where e.sequence > %(after)s and e.sequence <= %(until)s order by e.sequence limit %(page)s",
            {"after": after, "until": until, "page": PAGE},
            patience_seconds=PATIENCE_SECONDS,
        )
        return Page(rows, rows[-1]["sequence"] if len(rows) == PAGE else until)
