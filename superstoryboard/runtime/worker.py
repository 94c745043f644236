"""The loop of a worker: takes what it can start, keeps the leases, ends each attempt in the database."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from superstoryboard.jobs.database import DatabaseUnavailableError
from superstoryboard.jobs.work import ClaimedJob, WorkQueue
from superstoryboard.queue.wakeups import Wakeups
from superstoryboard.runtime.attempts import Attempt, AttemptEndings
from superstoryboard.runtime.leases import LeaseKeeper
from superstoryboard.telemetry.logs import bound_contextvars, get_logger
from superstoryboard.telemetry.work_metrics import WorkerMetrics

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
"""Does one attempt; answers the job's state after the hand-off. Raises JobFailure, StaleClaimError, ReleasedError,
GateClosedError, WaitsError."""
Ready = Callable[[], Awaitable[None]]
"""Returns once new jobs may be taken."""


async def at_once() -> None:
    """Nothing to wait for."""


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
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._running: dict[asyncio.Task[Attempt], Attempt] = {}
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
            await self._slots.acquire()
            self._slots.release()
            await self._ready()
            try:
                taken = await self.take(self._free(), force=False)
            except DatabaseUnavailableError:
                await self._pause(DATABASE_RETRY_SECONDS)
                continue
            if taken:
                idle_seconds = POLL_MIN_SECONDS
                continue
            await self._rest(idle_seconds)
            idle_seconds = min(idle_seconds * 1.5, POLL_MAX_SECONDS)

    async def take(self, quantity: int, *, force: bool) -> list[asyncio.Task[Attempt]]:
        """Claim up to `quantity` jobs, never more than there are free slots, and start them."""
        async with self._taking:
            wanted = min(quantity, self._free())
            if wanted <= 0 or self.draining.is_set():
                return []
            jobs = await self._work.claim(wanted, self.limits.lease_seconds, force=force, held=self.leases.held)
            for _ in jobs:
                await self._slots.acquire()
        return [self._start(job) for job in jobs]

    async def process(
        self, quantity: int, *, force: bool, taken: Callable[[Attempt], None] = lambda _: None
    ) -> list[Attempt]:
        """Process up to `quantity` messages, as slots become free, until the queue is empty. In the order taken.

        `taken` is told of each attempt at its start. Cancelling this leaves the attempts running.
        """
        tasks: list[asyncio.Task[Attempt]] = []
        while len(tasks) < quantity and not self.draining.is_set():
            await self._slots.acquire()
            self._slots.release()
            await self._ready()
            started = await self.take(quantity - len(tasks), force=force)
            if not started and self._free() > 0:
                break
            for task in started:
                taken(self._running[task])
            tasks += started
        return [await asyncio.shield(task) for task in tasks]

    async def drain(self) -> None:
        """Stop taking jobs, let those in flight end within the drain time, then release the rest."""
        self.draining.set()
        self.wakeups.wake()
        log.info("Draining", running=len(self._running))
        if self._running:
            await asyncio.wait(list(self._running), timeout=self.limits.drain_seconds)
        await self.drain_now()

    async def drain_now(self) -> None:
        """Release what is in flight without waiting for its end."""
        self.draining.set()
        for task in list(self._running):
            task.cancel("drained")
        if self._running:
            await asyncio.wait(list(self._running), timeout=RELEASE_SECONDS)

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

    def _start(self, job: ClaimedJob) -> asyncio.Task[Attempt]:
        attempt = Attempt(job)
        task = asyncio.create_task(self._attempt(attempt), name=f"job-{job.id}")
        self._running[task] = attempt
        self._metrics.started(job.kind)
        self.leases.hold(job, lambda: _cancel(task))
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Attempt]) -> None:
        attempt = self._running.pop(task)
        self.leases.forget(attempt.job)
        self._slots.release()
        self._metrics.left(attempt.job.kind)

    async def _attempt(self, attempt: Attempt) -> Attempt:
        job = attempt.job
        with bound_contextvars(job_id=str(job.id), claim=job.claim, attempt=job.attempt):
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
