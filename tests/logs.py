"""What the process of the tests logs, to await."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs
from structlog.typing import EventDict


class Lines:
    """The lines so far; the first one can be awaited."""

    def __init__(self) -> None:
        self.all: list[EventDict] = []
        self._written = asyncio.Event()

    def tell(self, _logger: Any, _method: str, line: EventDict) -> EventDict:
        """A processor of structlog: it lets every line pass."""
        self._written.set()
        return line

    async def first(self) -> EventDict:
        """The first line; waits until there is one."""
        return await self.line("")

    async def line(self, words: str) -> EventDict:
        """The first line with these words; waits until there is one."""
        while True:
            self._written.clear()
            for line in self.all:
                if words in line["event"]:
                    return line
            await self._written.wait()


@contextmanager
def awaited_logs() -> Iterator[Lines]:
    """In place of the usual output, as long as the block lasts."""
    lines = Lines()
    with capture_logs(processors=[lines.tell]) as lines.all:
        yield lines
