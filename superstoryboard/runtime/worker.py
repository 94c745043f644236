"""The loop of a worker: takes what it can start, keeps the leases, ends each attempt in the database."""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from superstoryboard.jobs.database import DatabaseUnavailableError
from superstoryboard.jobs.errors import CallOutcome, ErrorClass, JobError, JobFailure, ProviderFailure
from superstoryboard.jobs.work import ClaimedJob, WorkQueue
from superstoryboard.queue.wakeups import Wakeups
from superstoryboard.runtime.attempt_errors import (
    DeadLetterError,
    GateClosedError,
    ReleasedError,
    StaleClaimError,
    WaitsError,
)
from superstoryboard.runtime.leases import LeaseKeeper
from superstoryboard.telemetry.logs import bound_contextvars, get_logger
from superstoryboard.telemetry.work_metrics import WorkerMetrics

POLL_MIN_SECONDS = 0.25
POLL_MAX_SECONDS = 2.0
LISTENING_POLL_SECONDS = 5.0
DATABASE_RETRY_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 600
RELEASE_SECONDS = 5.0
"""Time for attempts that are cancelled to give their jobs back."""
CLOSED_MAX_SECONDS = 86_400.0
"""A provider that asks for a longer pause is asked again after a day."""

CLOSING = {ErrorClass.RATE_LIMITED: 30.0, ErrorClass.QUOTA_EXHAUSTED: 3600.0, ErrorClass.CONFIG: 60.0}
"""Classes that close the gate of a model for everyone, and for how many seconds where the provider does not say."""

log = get_logger("worker")


@dataclass
class Attempt:
    """One job in this process and how its attempt ended: the job's state, or None for a claim that was lost."""

    job: ClaimedJob
    started: float = field(default_factory=time.monotonic)
    state: str | None = None
    error: JobError | None = None


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
                await self._leave(attempt)
            except Exception as error:  # noqa: BLE001 - every failure of an attempt becomes a transition
                await self._conclude(attempt, error)
            seconds = time.monotonic() - attempt.started
            code, error_class = (attempt.error.code, attempt.error.error_class) if attempt.error else (None, None)
            log.info("Attempt ended", state=attempt.state, error_code=code, seconds=round(seconds, 3))
            self._metrics.ended(job.kind, attempt.state, error_class, seconds)
        return attempt

    async def _leave(self, attempt: Attempt) -> None:
        """Cancelled: by a lost lease, where the release changes nothing, or at the end of the drain."""
        self.leases.forget(attempt.job)
        try:
            released = await self._work.release(attempt.job, 0, "Released: its worker stopped")
        except DatabaseUnavailableError:
            released = False
        attempt.state = "QUEUED" if released else None
        if released:
            self._metrics.released(attempt.job.kind, "drained")

    async def _conclude(self, attempt: Attempt, error: Exception) -> None:
        try:
            attempt.state = await self._transition(attempt, error)
        except DatabaseUnavailableError:
            log.warning("The end of the attempt could not be recorded; the job comes back when its lease ends")

    async def _transition(self, attempt: Attempt, error: Exception) -> str | None:
        job = attempt.job
        if isinstance(error, StaleClaimError):
            log.warning("Claim is stale; the result is discarded")
            return None
        if isinstance(error, DatabaseUnavailableError):
            raise error
        if isinstance(error, ReleasedError):
            self.leases.forget(job)
            await self._work.release(job, 0, "Released: its worker drains")
            self._metrics.released(job.kind, "drained")
            return "QUEUED"
        if isinstance(error, GateClosedError):
            self.leases.forget(job)
            await self._work.release(job, math.ceil(error.wait_seconds), "Waits: the model takes no more calls now")
            self._metrics.released(job.kind, "gate_closed")
            return "QUEUED"
        if isinstance(error, WaitsError):
            attempt.error = error.error
            return await self._work.retry(job, error.delay_seconds, error.error, spend=False)
        attempt.error = _job_error(error)
        if isinstance(error, DeadLetterError) or _paid_for_nothing(job, error):
            return await self._work.bury(job, attempt.error)
        asked = error.retry_after_seconds if isinstance(error, JobFailure) else None
        return await self._fail(job, attempt.error, asked)

    async def _fail(self, job: ClaimedJob, error: JobError, asked_seconds: float | None) -> str | None:
        """What DESIGN section 7 says of each class."""
        if error.error_class.final:
            return await self._work.fail(job, error)
        if error.error_class is ErrorClass.UNKNOWN_OUTCOME and job.kind == "video":
            return await self._work.bury(job, error)
        if error.error_class in CLOSING:
            wait = min(CLOSED_MAX_SECONDS, asked_seconds or CLOSING[error.error_class])
            if error.error_class is not ErrorClass.RATE_LIMITED:
                log.error("Submits stop until somebody or the day helps", code=error.code, seconds=round(wait))
            await self._work.close_gate(await self._work.model_of(job), wait, error.code)
            self._metrics.gate_closed(job.kind, error.error_class)
            return await self._work.retry(job, math.ceil(wait), error, spend=False)
        delay = backoff_seconds(job.attempt, self.limits.retry_delay_seconds, random.random())  # noqa: S311 - jitter
        spend = error.error_class is not ErrorClass.UNAVAILABLE_DEPENDENCY
        return await self._work.retry(job, delay, error, spend=spend)


def _paid_for_nothing(job: ClaimedJob, error: Exception) -> bool:
    """True where a call was paid and its image is of no use: a second payment is a person's decision.

    A video is fetched again from its operation instead.
    """
    return job.kind == "image" and isinstance(error, ProviderFailure) and error.outcome is CallOutcome.PAID


def backoff_seconds(attempt: int, base_seconds: int, jitter: float) -> int:
    """Whole seconds until the next attempt: exponential in the attempts spent, with full jitter (0 to 1)."""
    longest: int = min(base_seconds * 2 ** max(0, attempt - 1), BACKOFF_MAX_SECONDS)
    return math.ceil(longest * jitter)


def _cancel(task: asyncio.Task[Attempt]) -> None:
    task.cancel("lease lost")


def _job_error(error: Exception) -> JobError:
    if isinstance(error, JobFailure):
        return error.error
    log.error("Attempt failed unexpectedly", exc_info=error)
    if isinstance(error, OSError):
        # A full disk, no temporary folder, no more open files: of this worker, and not of the job.
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        message = f"The worker's own system refused to work ({reason}). The job waits."
        return JobError(ErrorClass.UNAVAILABLE_DEPENDENCY, "WORKER_SYSTEM", message)
    return JobError(ErrorClass.TRANSIENT, "INTERNAL", "the worker failed unexpectedly; see its log")
