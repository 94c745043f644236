"""The event log as a feed to a broker: where it stands is kept in the database, and one process at a time moves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import uuid4

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements
from superstoryboard.jobs.events import Page, pruned_sequence

PAGE = 200
LEASE_SECONDS = 10.0
PATIENCE_SECONDS = 5.0


class Sql(Statements):
    """Statements of feeds.sql."""

    hold_event_feed: LiteralString
    advance_event_feed: LiteralString
    release_event_feed: LiteralString
    events_with_kind: LiteralString


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
            Sql.hold_event_feed,
            self._values | {"start": start},
            patience_seconds=PATIENCE_SECONDS,
        )
        return FeedLease(**row)

    async def advance(self, sequence: int) -> bool:
        """Record that the broker has confirmed every event up to this one. False where another holds the feed."""
        row = await self._database.fetch_one(
            Sql.advance_event_feed,
            self._values | {"sequence": sequence},
            patience_seconds=PATIENCE_SECONDS,
        )
        return bool(row["held"])

    async def release(self) -> None:
        """Let another process go on at once."""
        await self._database.fetch(Sql.release_event_feed, self._values)

    async def pruned_after(self, sequence: int) -> int | None:
        """The sequence up to which events after this one were deleted, or None where none were."""
        pruned = await pruned_sequence(self._database, PATIENCE_SECONDS)
        return pruned if sequence < pruned else None

    async def read(self, after: int, until: int) -> Page:
        """Some events of every owner, each with the kind of its job."""
        rows = await self._database.fetch(
            Sql.events_with_kind,
            {"after": after, "until": until, "page": PAGE},
            patience_seconds=PATIENCE_SECONDS,
        )
        return Page(rows, rows[-1]["sequence"] if len(rows) == PAGE else until)
