"""The newest events, read once for all watchers of a process.

A watcher that keeps up takes its events from here; one that is further behind reads the log itself, so that a slow one
holds nothing in memory.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from operator import itemgetter
from typing import Any, LiteralString

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements

KEPT = 5000
READ_ROWS = 1000
PATIENCE_SECONDS = 60.0

Row = dict[str, Any]


class Sql(Statements):
    """Statements of recent_events.sql."""

    events_between: LiteralString


class RecentEvents:
    """Every event with a sequence above `_after` and up to `_until`, at most so many."""

    def __init__(self, database: Database, kept: int = KEPT) -> None:
        self._database = database
        self._kept = kept
        self._rows: list[Row] = []
        self._after = 0
        self._until = 0
        self._reading = asyncio.Lock()

    async def between(self, after: int, until: int) -> list[Row] | None:
        """Every event above `after` up to `until`, rising; None where they are not the newest.

        Raises:
            DatabaseUnavailableError: the log could not be read on.
        """
        async with self._reading:
            await self._read_on(until)
        if after < self._after:
            return None
        return self._rows[self._place(after) : self._place(until)]

    async def _read_on(self, until: int) -> None:
        """Read up to a sequence; the first that waits for it does so for all."""
        if until - self._until > self._kept:  # nobody watched for a while
            self._rows, self._after, self._until = [], until - self._kept, until - self._kept
        while self._until < until:
            rows = await self._database.fetch(
                Sql.events_between,
                {"after": self._until, "until": until, "limit": READ_ROWS},
                patience_seconds=PATIENCE_SECONDS,
            )
            self._rows += rows
            self._until = rows[-1]["sequence"] if len(rows) == READ_ROWS else until
            if len(self._rows) > self._kept:
                self._after = self._rows[-self._kept - 1]["sequence"]
                self._rows = self._rows[-self._kept :]

    def _place(self, sequence: int) -> int:
        return bisect_right(self._rows, sequence, key=itemgetter("sequence"))
