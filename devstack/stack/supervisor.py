"""Keeps a set of programs alive and stops them in order; see `devstack.stack.child` for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, Self

import psutil

from .child import Child
from .console import Sink
from .program import Program

READY_SECONDS = 60.0


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Run steps at the same time; the first that fails ends the others, and its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


class Supervisor:
    """All children of one stack. As an async context manager it stops them at its end, also after an error."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._children: dict[str, Child] = {}

    def __getitem__(self, name: str) -> Child:
        """The child with this name.

        Raises:
            KeyError: there is none.
        """
        return self._children[name]

    def __iter__(self) -> Iterator[Child]:
        """All children, in the order in which they were started."""
        return iter(list(self._children.values()))

    async def start(self, *programs: Program, ready_seconds: float = READY_SECONDS) -> None:
        """Start programs at the same time, and return once all of them are ready.

        Raises:
            StartError: one did not become ready.
            OSError: one cannot be started at all.
        """
        await together(*(self._start(program, ready_seconds) for program in programs))

    async def stop(self) -> None:
        """Stop all: the stages from high to low, within a stage at the same time."""
        for stage in sorted({child.program.stage for child in self._children.values()}, reverse=True):
            members = [child for child in self._children.values() if child.program.stage == stage]
            await asyncio.gather(*(child.stop() for child in members))

    def memory_bytes(self) -> dict[str, int]:
        """The memory of each program with its own children: proportional set size, which counts shared pages once."""
        return {child.name: _memory_of(child.pid) for child in self._children.values() if child.pid is not None}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start(self, program: Program, ready_seconds: float) -> None:
        child = self._children.setdefault(program.name, Child(program, self._sink))
        await child.start()
        await child.wait_ready(ready_seconds)


def _memory_of(pid: int) -> int:
    total = 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            facts = member.memory_full_info()
        except psutil.NoSuchProcess:
            continue  # a backend that has just ended
        # Where the system does not tell the proportional size, the unshared part is the nearest.
        total += getattr(facts, "pss", facts.uss)
    return total
