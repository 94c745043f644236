"""The loop of a worker: takes what it can start, keeps the leases, ends each attempt in the database."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.db.notify import Wakeups
from superstoryboard.domain.traces import trace_fields
from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.telemetry.logs import bound_contextvars, get_logger
from superstoryboard.telemetry.work_metrics import WorkerMetrics
from superstoryboard.worker.attempts import Attempt, AttemptEndings
from superstoryboard.worker.leases import LeaseKeeper

POLL_MIN_SECONDS = 0.25
POLL_MAX_SECONDS = 2.0
DATABASE_RETRY_SECONDS = 1.0
RELEASE_SECONDS = 5.0
"""Time for attempts that are cancelled to give their jobs back."""

log = get_logger("worker")


@dataclass(frozen=True)
class Limits:
    """How much at once, for how long (seconds), and after how long an attempt that failed is repeated."""

    concurrency: int
    lease_seconds: int
    drain_seconds: float
    retry_delay_seconds: int


Generate = Callable[[ClaimedJob], Awaitable[str]]
"""Does one attempt; returns the job's state after the hand-off. Raises JobFailure, StaleClaimError, ReleasedError,
GateClosedError, WaitsError."""
Ready = Callable[[], Awaitable[None]]
"""Returns once new jobs may be taken."""


OnStart = Callable[[Attempt], None]
"""Called with an attempt at its start."""


async def at_once() -> None:
    """Nothing to wait for."""


def unheard(attempt: Attempt) -> None:
    """Does nothing."""


def new_worker_id(name: str) -> str:
    """An identity that no other process start has had."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


class Worker:
    """Runs attempts of one queue, at most `concurrency` at once."""

    def __init__(
        self,
        work: WorkQueue,
        generate: Generate,
        wakeups: Wakeups,
        limits: Limits,
        draining: asyncio.Event | None = None,
        *,
        metrics: WorkerMetrics | None = None,
        ready: Ready = at_once,
    ) -> None:
        self._work = work
        self._ready = ready
        self._generate = generate
        self.wakeups = wakeups
        self.limits = limits
        self._metrics = metrics or WorkerMetrics()
        self.leases = LeaseKeeper(work, limits.lease_seconds, self._metrics)
        self._endings = AttemptEndings(work, self.leases, self._metrics, limits.retry_delay_seconds)
        self.draining = draining or asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._running: dict[asyncio.Task[Attempt], Attempt] = {}
        self._takes: set[asyncio.Task[list[asyncio.Task[Attempt]]]] = set()
        self._taking = asyncio.Lock()

    @property
    def running(self) -> list[Attempt]:
        """The attempts of this moment."""
        return list(self._running.values())

    @property
    def worker_id(self) -> str:
        """Identity of this process start."""
        return self._work.worker

    @property
    def queue(self) -> str:
        """PGMQ queue."""
        return self._work.queue

    async def run(self) -> None:
        """Take and run jobs until draining starts."""
        idle_seconds = POLL_MIN_SECONDS
        while not self.draining.is_set():
            await self._room.wait()
            await self._ready()
            try:
                started = await self.take(self._free(), force=False)
            except DatabaseUnavailableError:
                await self._pause(DATABASE_RETRY_SECONDS)
                continue
            if started:
                idle_seconds = POLL_MIN_SECONDS
                continue
            await self._rest(idle_seconds)
            idle_seconds = min(idle_seconds * 1.5, POLL_MAX_SECONDS)

    async def take(self, quantity: int, *, force: bool, on_start: OnStart = unheard) -> list[asyncio.Task[Attempt]]:
        """Claim up to `quantity` jobs, never more than there are free slots, and start them. `on_start` gets each.

        Where this is cancelled, or a drain begins, before they start, they go back to the queue at once.
        """
        still_needed = asyncio.Event()
        still_needed.set()
        taking = asyncio.create_task(self._take(quantity, force, on_start, still_needed))
        self._takes.add(taking)
        taking.add_done_callback(self._takes.discard)
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            still_needed.clear()
            raise

    async def _take(
        self, quantity: int, force: bool, on_start: OnStart, still_needed: asyncio.Event
    ) -> list[asyncio.Task[Attempt]]:
        async with self._taking:
            slots = min(quantity, self._free())
            if slots <= 0 or self.draining.is_set() or not still_needed.is_set():
                return []
            jobs = await self._work.claim(slots, self.limits.lease_seconds, force=force, held=self.leases.held)
            if still_needed.is_set() and not self.draining.is_set():
                return [self._start(job, on_start) for job in jobs]
        await self._endings.never_started(jobs)
        return []

    async def process(self, quantity: int, *, force: bool, on_start: OnStart = unheard) -> list[Attempt]:
        """Process up to `quantity` messages, as slots become free, until the queue is empty. In the order taken.

        `on_start` is called with each attempt at its start. Cancelling this leaves the attempts running.
        """
        tasks: list[asyncio.Task[Attempt]] = []
        while len(tasks) < quantity and not self.draining.is_set():
            await self._room.wait()
            await self._ready()
            started = await self.take(quantity - len(tasks), force=force, on_start=on_start)
            if not started and self._free() > 0:
                break
            tasks += started
        return [await asyncio.shield(task) for task in tasks]

    async def drain(self) -> None:
        """Stop taking jobs, let those in flight end within the drain time, then release the rest."""
        self.draining.set()
        self.wakeups.wake()
        log.info("Draining", running=len(self._running))
        await self._in_flight(self.limits.drain_seconds)
        await self.drain_now()

    async def drain_now(self) -> None:
        """Release what is in flight without waiting for its end."""
        self.draining.set()
        for task in list(self._running):
            task.cancel("drained")
        await self._in_flight(RELEASE_SECONDS)

    async def _in_flight(self, seconds: float) -> None:
        """Wait for the end of what runs, and of claims under way, which give back what they get."""
        in_flight = [*self._running, *self._takes]
        if in_flight:
            await asyncio.wait(in_flight, timeout=seconds)

    def _free(self) -> int:
        return self.limits.concurrency - len(self._running)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.draining.wait()
        except TimeoutError:
            return

    async def _rest(self, idle_seconds: float) -> None:
        """Wait for a wake-up or the next poll; jittered, so that workers do not poll in step."""
        await self.wakeups.wait(idle_seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    def _start(self, job: ClaimedJob, on_start: OnStart) -> asyncio.Task[Attempt]:
        attempt = Attempt(job)
        task = asyncio.create_task(self._attempt(attempt), name=f"job-{job.id}")
        self._running[task] = attempt
        if self._free() <= 0:
            self._room.clear()
        self._metrics.started(job.kind)
        self.leases.hold(job, lambda: _cancel(task))
        task.add_done_callback(self._ended)
        on_start(attempt)
        return task

    def _ended(self, task: asyncio.Task[Attempt]) -> None:
        attempt = self._running.pop(task)
        self.leases.forget(attempt.job)
        self._room.set()
        self._metrics.left(attempt.job.kind)

    async def _attempt(self, attempt: Attempt) -> Attempt:
        job = attempt.job
        trace = trace_fields(job.traceparent)
        with bound_contextvars(job_id=str(job.id), claim=job.claim, attempt=job.attempt, **trace):
            log.info("Attempt started", resumed=job.operation is not None)
            try:
                attempt.state = await self._generate(job)
            except asyncio.CancelledError:
                await self._endings.left(attempt)
            except Exception as error:  # noqa: BLE001 - every failure of an attempt becomes a transition
                await self._endings.failed(attempt, error)
            seconds = time.monotonic() - attempt.started
            code, error_class = (attempt.error.code, attempt.error.error_class) if attempt.error else (None, None)
            log.info("Attempt ended", state=attempt.state, error_code=code, seconds=round(seconds, 3))
            self._metrics.ended(job.kind, attempt.state, error_class, seconds)
        return attempt


def _cancel(task: asyncio.Task[Attempt]) -> None:
    task.cancel("lease lost")
