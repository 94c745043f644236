"""When the keys of a project are read: regularly, sooner for a key that nobody knows, never in a storm."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from superstoryboard.domain.backoff import backoff_seconds

Clock = Callable[[], float]


@dataclass(frozen=True)
class KeyTimes:
    """All in seconds."""

    refresh: float = 300.0
    """Between two reads; each process takes up to a fifth less, so that not all ask at once."""
    gap: float = 30.0
    """At least between the starts of two reads, failed ones included, whatever tokens come."""
    first_retry: float = 1.0
    """After the first failed read while there are no keys at all; doubled with each further one, up to `gap`."""
    lifetime: float = 86_400.0
    """How long keys are used after they were read last."""


class KeySchedule:
    """Says when to read next. All methods are for one event loop."""

    def __init__(self, times: KeyTimes, clock: Clock, share: Callable[[], float] = random.random) -> None:
        self._times = times
        self._clock = clock
        self._share = share
        self._asked = asyncio.Event()
        self._earliest = clock()
        self._regular = self._earliest
        self._failures = 0

    def ended(self, *, succeeded: bool, has_keys: bool, took: float = 0.0) -> None:
        """A read has ended, which took so many seconds; it answers whoever asked before."""
        now, times = self._clock(), self._times
        self._asked.clear()
        self._failures = 0 if succeeded else self._failures + 1
        self._earliest = now - took + times.gap
        if succeeded:
            self._regular = now + times.refresh * (1 - self._share() / 5)
        elif has_keys:
            self._regular = now + times.gap * (1 + self._share())
        else:
            wait = backoff_seconds(self._failures, times.first_retry, times.gap, kept_share=1.0)
            self._regular = now + wait * (1 - self._share() / 5)

    def ask(self) -> None:
        """A token names a key that is not known: read as soon as the gap allows."""
        self._asked.set()

    def wait_seconds(self) -> float:
        """Until the next read; 0 or less where it is due."""
        due = min(self._regular, self._earliest) if self._asked.is_set() else self._regular
        return due - self._clock()

    async def due(self) -> None:
        """Wait until the next read is due."""
        while (seconds := self.wait_seconds()) > 0:
            if self._asked.is_set():
                await asyncio.sleep(seconds)
                continue
            try:
                async with asyncio.timeout(seconds):
                    await self._asked.wait()
            except TimeoutError:
                continue
