"""One supervised child process: started again when it dies, stopped in order, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from superstoryboard.domain.backoff import backoff_seconds

from .console import Sink
from .guard import shared_guard
from .program import Program, StartError

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 0.8
STEADY_SECONDS = 5.0
PROBE_SECONDS = 3.0
BETWEEN_PROBES_SECONDS = 0.05
OUTPUT_SECONDS = 1.0
DEATHS_BEFORE_READY = 5
REMEMBERED_LINES = 40


class _Lines(asyncio.Protocol):
    """Cuts what comes out of a pipe into lines."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None
        self._ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace").rstrip("\r"))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._rest:
            self._take(self._rest.decode(errors="replace"))
        self._ended.set()

    async def end(self, timeout_seconds: float) -> None:
        """Wait for the pipe's end, or close it where some other process still holds it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout_seconds)
        if self._transport is not None:
            self._transport.close()


class Child:
    """A program that is kept alive between `start` and `stop`."""

    def __init__(self, program: Program, sink: Sink) -> None:
        self.program = program
        self.name = program.name
        self.starts = 0
        """How often a process of this program was started."""
        self._sink = sink
        self._recent: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._stop_signal = program.stop_signal
        self._started = asyncio.Condition()

    @property
    def pid(self) -> int | None:
        """The process id, or None where no process runs just now."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start, and keep it alive from now on; does not wait until it is ready.

        Raises:
            OSError: the program cannot be started at all.
        """
        if self._keeper is None:
            self._stopping.clear()
            self._stop_signal = self.program.stop_signal
            lines = await self._spawn()
            self._keeper = asyncio.create_task(self._keep(lines), name=f"keeper of {self.name}")

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Return once the probe says yes.

        Raises:
            StartError: it did not in time, or the program keeps dying; the message has its last lines.
        """
        deadline = time.monotonic() + timeout_seconds
        first = self.starts
        while not await self._answers():
            if time.monotonic() > deadline or self.starts - first >= DEATHS_BEFORE_READY:
                raise StartError(f"{self.name} did not become ready:\n" + "\n".join(self._recent))
            await asyncio.sleep(BETWEEN_PROBES_SECONDS)

    async def wait_restarted(self, old_pid: int, timeout_seconds: float = 10.0) -> int:
        """Return the pid of the process that follows the one with this pid."""
        async with asyncio.timeout(timeout_seconds), self._started:
            await self._started.wait_for(lambda: self.pid not in {None, old_pid})
        if self.pid is None:
            raise StartError(f"{self.name} exited again")
        return self.pid

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the running process and return its pid; once it is dead it is started again.

        Raises:
            ProcessLookupError: no process runs just now.
        """
        if self._process is None:
            raise ProcessLookupError(self.name)
        self._process.send_signal(number)
        return self._process.pid

    async def stop(self, number: signal.Signals | None = None) -> None:
        """Send the program's stop signal (or another one) and wait for the end; it is not started again.

        A program that takes longer than its stop_seconds is killed.
        """
        keeper = self._keeper
        if keeper is None:
            return
        self._stop_signal = number or self.program.stop_signal
        self._stopping.set()
        self._signal(self._stop_signal)
        done, _ = await asyncio.wait({keeper}, timeout=self.program.stop_seconds)
        if not done:
            self._signal(signal.SIGKILL)
        await keeper
        self._keeper = None

    async def _keep(self, lines: _Lines) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            code = await self._outlive(lines)
            if self._stopping.is_set():
                return
            deaths = 1 if time.monotonic() - began > STEADY_SECONDS else deaths + 1
            self._take(f"exited with code {code}; restarting")
            with suppress(TimeoutError):
                delay = backoff_seconds(deaths, FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
                await asyncio.wait_for(self._stopping.wait(), delay)
                return
            lines = await self._spawn()
            if self._stopping.is_set():
                self._signal(self._stop_signal)

    async def _spawn(self) -> _Lines:
        reading, writing = os.pipe()
        lines = _Lines(self._take)
        await asyncio.get_running_loop().connect_read_pipe(lambda: lines, os.fdopen(reading, "rb", 0))
        try:
            process = await asyncio.create_subprocess_exec(
                *self.program.argv,
                env=dict(self.program.env),
                cwd=self.program.cwd,
                stdin=DEVNULL,
                stdout=writing,
                stderr=writing,
                **self.program.identity,
            )
        finally:
            os.close(writing)
        shared_guard().watch(process.pid)
        self.starts += 1
        self._process = process
        async with self._started:
            self._started.notify_all()
        return lines

    async def _outlive(self, lines: _Lines) -> int:
        """Wait for the process's end, and end what it may have left in its group."""
        process = self._process
        if process is None:
            raise ProcessLookupError(self.name)
        code = await process.wait()
        with suppress(ProcessLookupError):  # nothing is left, as it should be
            os.killpg(process.pid, signal.SIGKILL)
        shared_guard().forget(process.pid)
        await lines.end(OUTPUT_SECONDS)
        self._process = None
        return code

    async def _answers(self) -> bool:
        if self._process is None:
            return False
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self.program.probe()
        except OSError:  # TimeoutError is one
            return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):  # it ended in this moment
                self._process.send_signal(number)

    def _take(self, line: str) -> None:
        self._recent.append(line)
        self._sink(self.name, line)
