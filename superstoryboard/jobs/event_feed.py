"""Follows the event log without skipping: numbers are drawn before they commit, so a lower one may appear later.

Who draws a number holds RowExclusiveLock on the table of events until the end of its transaction, and lets it go after
its events can be seen. So a gap is passed when none of those is left who held the lock after the gap was seen: the
events of whoever had let it go before are seen by the next look. Transactions that only read, that write elsewhere, or
that belong to another database hold no such lock and delay nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import LiteralString

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.notify import Wakeups
from superstoryboard.db.statements import Statements
from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.telemetry.feed_metrics import GapMetrics
from superstoryboard.telemetry.logs import get_logger

PAGE = 1000
IDLE_SECONDS = 1.0
GAP_SECONDS = 0.02
GAP_MAX_SECONDS = 0.5
GAP_LIMIT_SECONDS = 30.0
"""How long a transaction that may have drawn a number holds up the watchers."""

Writers = frozenset[str]

log = get_logger("events")


class Sql(Statements):
    """Statements of event_feed.sql."""

    sequences_after: LiteralString
    newest_sequence: LiteralString
    writers: LiteralString


class Tail:
    """Decides how far a log may be read. `position` is the last sequence up to which all is known."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._seen_until: int | None = None
        self._blockers: Writers | None = None

    @property
    def waits(self) -> bool:
        """True while a gap holds the tail back."""
        return self._seen_until is not None

    @property
    def blockers(self) -> Writers:
        """Those who may still fill the gaps."""
        return self._blockers or frozenset()

    def advance(self, sequences: list[int], writers: Writers) -> int:
        """Take the visible sequences after the position, rising; return the new position.

        `writers` held the lock before the sequences were read, and are needed only while the tail waits.
        """
        if self.waits:
            self._blockers = writers if self._blockers is None else self._blockers & writers
        for sequence in sequences:
            if sequence != self.position + 1 and not self._is_settled(sequence):
                if self._seen_until is None or self._blockers == frozenset() or sequence > self._seen_until:
                    self._seen_until, self._blockers = sequences[-1], None
                return self.position
            self.position = sequence
        self._seen_until = self._blockers = None
        return self.position

    def _is_settled(self, sequence: int) -> bool:
        """True for a gap below what was seen when the writers were first asked for, where none of them is left."""
        return self._seen_until is not None and sequence <= self._seen_until and self._blockers == frozenset()


class EventFeed:
    """One reader of the log per process; any number of watchers wait for its position."""

    def __init__(self, database: Database, wakeups: Wakeups, gaps: GapMetrics | None = None) -> None:
        self._database = database
        self._wakeups = wakeups
        self._gaps = gaps or GapMetrics()
        self._tail: Tail | None = None
        self._ignored: Writers = frozenset()
        self._certain = 0
        self._moved = asyncio.Condition()
        self._started = asyncio.Event()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        looks, since = 0, time.monotonic()
        while True:
            try:
                moved = await self._step()
            except DatabaseUnavailableError:
                moved = False
            if self._tail is None or not self._tail.waits or moved:
                looks, since = 0, time.monotonic()
            if self._tail is not None and self._tail.waits:
                if self._tail.blockers and time.monotonic() - since >= GAP_LIMIT_SECONDS:
                    self._ignore(self._tail.blockers)
                    since = time.monotonic()
                looks += 1
                await asyncio.sleep(backoff_seconds(looks, GAP_SECONDS, GAP_MAX_SECONDS))
            elif not moved:
                await self._wakeups.wait(IDLE_SECONDS)

    async def _step(self) -> bool:
        if self._tail is None:
            self._tail = Tail(await self._start())
            self._started.set()
            async with self._moved:
                self._moved.notify_all()
        before, ignored = self._tail.position, self._ignored
        # Asked for before the look: who had let go by then can be seen by it.
        writers = await self._writers() if self._tail.waits or ignored else frozenset()
        rows = await self._database.fetch(
            Sql.sequences_after,
            {"position": before, "page": PAGE},
        )
        self._tail.advance([row["sequence"] for row in rows], writers)
        moved = self._tail.position != before
        if moved or self._ignored != ignored:
            async with self._moved:
                self._moved.notify_all()
        return moved

    async def _start(self) -> int:
        """A position below which all is known: the newest sequence, once everyone who wrote beside it has ended."""
        newest = await self._database.fetch_one(Sql.newest_sequence)
        since = time.monotonic()
        blockers = await self._writers()
        while blockers:
            if time.monotonic() - since >= GAP_LIMIT_SECONDS:
                self._ignore(blockers)
            await asyncio.sleep(GAP_SECONDS)
            blockers &= await self._writers()
        return int(newest["sequence"])

    async def _writers(self) -> Writers:
        """The transactions that may have drawn numbers of events, without those that were waited for long enough."""
        rows = await self._database.fetch(Sql.writers)
        writers = frozenset(row["writer"] for row in rows)
        self._ignored &= writers
        return writers - self._ignored

    def _ignore(self, blockers: Writers) -> None:
        """Go on without them. What they commit later is in the log, and live watchers do not see it."""
        if not self._ignored:
            self._certain = self.position
        self._ignored |= blockers
        self._gaps.passed()
        log.warning(
            "A transaction that may have written events stays open; watchers continue, publishing waits",
            transactions=sorted(blockers),
            waited_seconds=GAP_LIMIT_SECONDS,
        )

    async def wait_past(self, sequence: int, timeout_seconds: float) -> int | None:
        """The position once it is past `sequence`; None where it is not within the time."""
        return await self._reach(lambda: self.position, sequence, timeout_seconds)

    async def wait_surely_past(self, sequence: int, timeout_seconds: float) -> int | None:
        """As wait_past, for a reader that may miss nothing: it waits for every transaction, however long."""
        return await self._reach(lambda: self._sure_position, sequence, timeout_seconds)

    async def _reach(self, position: Callable[[], int], sequence: int, timeout_seconds: float) -> int | None:
        async with self._moved:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._moved.wait_for(lambda: position() > sequence)
            except TimeoutError:
                return None
            return position()

    async def start(self) -> int:
        """A position below which nothing is missing, once there is one: the first look waits for the database."""
        await self._started.wait()
        async with self._moved:
            await self._moved.wait_for(lambda: self._sure_position > 0 or not self._ignored)
            return self._sure_position

    @property
    def position(self) -> int:
        """The last sequence that watchers may be given."""
        return self._tail.position if self._tail is not None else 0

    @property
    def _sure_position(self) -> int:
        """The last sequence below which nothing is missing: that of watchers, save while they go on without someone."""
        return self._certain if self._ignored else self.position
