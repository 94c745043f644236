"""What those who race share: the few jobs that all of them have their hands on, and the report."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from uuid import UUID

from superstoryboard.jobs.queue import ClaimedJob, WorkQueue

PLANS: dict[str, dict[str, tuple[int, tuple[str, ...]]]] = {
    "image": {
        "answered": (8, ("begin", "stage")),
        "faulty": (2, ("settle_unpaid", "retry")),
        "refused": (2, ("settle_unpaid", "fail")),
        "damaged": (2, ("settle_paid", "bury")),
        "lost": (2, ("lose", "retry")),
    },
    "video": {
        "good": (8, ("keep_name", "begin", "stage")),
        "empty": (2, ("keep_name", "settle_unpaid", "retry")),
        "gone": (2, ("keep_name", "settle_paid", "bury")),
        "refused": (2, ("settle_unpaid", "fail")),
        "lost": (2, ("lose", "bury")),
    },
}
"""What may become of a call that was opened: its weight, and the steps of the worker from there on.

A video's operation keeps its fate in its name, so that all who poll it see the same.
"""


@dataclass
class RaceReport:
    """What was tried, what of it was done, how rows moved, deadlocks that were retried, and what was broken."""

    seed: int
    tried: Counter[str] = field(default_factory=Counter)
    won: Counter[str] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)
    deadlocks: int = 0
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people."""
        tried = [f"  {name}: {count}" for name, count in sorted(self.tried.items())]
        won = [f"  {name}: {count}" for name, count in sorted(self.won.items())]
        moves = [f"  {name}: {count}" for name, count in sorted(self.moves.items())]
        ends = [f"deadlocks retried: {self.deadlocks}", f"violations: {len(self.violations)}"]
        head = f"seed {self.seed}"
        return "\n".join([head, "tried", *tried, "won", *won, "moves", *moves, *ends, *self.violations[:40]])


@dataclass
class Held:
    """What one worker knows of a job that it claimed; others may have claimed it since."""

    job: ClaimedJob
    work: WorkQueue
    plan: list[str]
    call: int = 0
    fate: str = ""
    artifact: UUID | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Table:
    """What the actors share: the few jobs that all of them have their hands on."""

    report: RaceReport
    limit: int
    jobs: deque[UUID] = field(default_factory=lambda: deque(maxlen=12))
    held: deque[Held] = field(default_factory=lambda: deque(maxlen=16))
    late: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=16))
    leased: deque[UUID] = field(default_factory=lambda: deque(maxlen=8))
    claims: Counter[UUID] = field(default_factory=Counter)
    given: set[tuple[UUID, int]] = field(default_factory=set)
    finished: set[UUID] = field(default_factory=set)

    def hold(self, job: ClaimedJob, work: WorkQueue, *, rescue: bool) -> Held:
        """A claim that was just given."""
        if (job.id, job.claim) in self.given:
            self.report.violations.append(f"claim {job.claim} of job {job.id} was given twice")
        self.given.add((job.id, job.claim))
        self.claims[job.id] = max(self.claims[job.id], job.claim)
        if job.id not in self.jobs:
            self.jobs.append(job.id)
        plan = [] if job.generation else ["freeze"]
        if job.operation:
            fate = job.operation.name.split("-")[0]
            held = Held(job, work, [*plan, *PLANS["video"][fate][1][1:]], job.operation.call_id, fate)
        else:
            looks = ["begin", "stage"] if rescue else ["miss", "wait"]
            held = Held(job, work, [*plan, *looks] if job.upload else [*plan, "open"])
        self.held.append(held)
        return held

    def is_stale(self, held: Held) -> bool:
        """True where a later claim is known to have been given before this moment."""
        return self.claims[held.job.id] > held.job.claim


STEPS_A_SECOND = 600
"""What two free cores do at least."""
MOST_TIMES = 8
"""A race takes so many times its seconds at most."""


@dataclass(frozen=True)
class Pace:
    """A race goes on for so many seconds and as many steps as they are good for."""

    report: RaceReport
    seconds: float
    begun: float = field(default_factory=time.monotonic)

    def over(self) -> bool:
        """True once both are reached, or far too much time has passed."""
        spent = time.monotonic() - self.begun
        enough = spent >= self.seconds and self.report.tried.total() >= self.seconds * STEPS_A_SECOND
        return enough or spent >= self.seconds * MOST_TIMES
