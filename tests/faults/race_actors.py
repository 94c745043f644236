"""Who races: clients, workers, asset_writers and operators on the real stores, each with a chance of its own.

Workers keep to their order of steps, but may stop after any, go on with a stale claim, or hear of an operation late.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.cleanups import Cleanups
from superstoryboard.jobs.database import Database, DatabaseUnavailableError
from superstoryboard.jobs.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.steering import Edit, Steering, Way
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.sweeps import Sweeper
from superstoryboard.jobs.work import ClaimedJob, WorkQueue
from tests.integration.helpers import (
    FACTS,
    IMAGE_QUEUE,
    VIDEO_QUEUE,
    expire_lease,
    finish,
    image_queue,
    open_call,
    submission,
    video_queue,
)

T = TypeVar("T")
Outcome = str | bool | None

BOARD = "board"
BY_HAND = "by-hand"
FAULT = JobError(ErrorClass.TRANSIENT, "INTERNAL", "it broke")

SEEN: dict[str, LiteralString] = {
    IMAGE_QUEUE: "select msg_id from pgmq.image_generation_queue",
    VIDEO_QUEUE: "select msg_id from pgmq.video_generation_queue",
}
"""What whoever has only SQL sees of the queues."""

LOCKED: dict[str, LiteralString] = {
    name: f"""
        with message as (select msg_id from {table} order by random() limit 2 for update skip locked),
        job as (
          select id from superstoryboard.jobs where queue = %(queue)s and ended_at is null
          order by random() limit 2 for update skip locked
        ),
        turn as (
          select job from superstoryboard.turns where queue = %(queue)s order by random() limit 2 for update skip locked
        )
        select pg_sleep(0.02), (select count(*) from message) + (select count(*) from job) + (select count(*) from turn)
    """
    for name, table in (
        (IMAGE_QUEUE, "pgmq.q_image_generation_queue"),
        (VIDEO_QUEUE, "pgmq.q_video_generation_queue"),
    )
}
"""Locks that somebody from outside takes, in whatever order, without ever waiting for one."""

WEIGHTS = {
    "accept": 6,
    "send": 1,
    "claim": 12,
    "work_on": 60,
    "extend": 6,
    "report": 2,
    "release": 2,
    "time_out": 6,
    "late_name": 1.5,
    "die": 3,
    "lease": 6,
    "finish": 4,
    "extend_artifact": 2,
    "give_back": 3,
    "bury_artifact": 4,
    "clean": 0.5,
    "cancel": 2,
    "start_again": 2,
    "start_again_paying": 2,
    "redrive": 4,
    "redrive_paying": 4,
    "redrive_edited": 2,
    "discard": 2,
    "pause": 0.5,
    "resume": 2,
    "close_gate": 0.3,
    "sweep": 2,
    "remove": 1,
    "preview": 1,
    "move_visibility": 1,
    "hold_locks": 1,
    "expire": 2,
    "age": 1,
}
"""How often an actor takes a step; a step is the method of this name."""

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


class Actor:
    """One of those who race. `orderly` actors only bring jobs to a good end."""

    def __init__(self, table: Table, database: Database, by_hand: Database, chance: random.Random, name: str) -> None:
        self.table = table
        self.chance = chance
        self.orderly = False
        self.database = database
        self.by_hand = by_hand
        self.store = JobStore(database)
        self.steering = Steering(database)
        self.ledger = Ledger(database)
        self.artifacts = Artifacts(database)
        self.cleanups = Cleanups(database)
        self.queues = (image_queue(database, name), video_queue(database, name))

    async def race(self, pace: Pace) -> None:
        """Take one step after the other, at random."""
        while not pace.over():
            name = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            await self.take(name, getattr(self, name)())

    async def take(self, name: str, step: Coroutine[Any, Any, Outcome]) -> None:
        """Count a step; no error of the database may reach whoever takes it."""
        self.table.report.tried[name] += 1
        try:
            outcome = await step
        except (psycopg.Error, DatabaseUnavailableError) as error:
            self.table.report.violations.append(f"{name} raised {type(error).__name__}: {error}")
            return
        if outcome:
            self.table.report.won[name if outcome is True else f"{name}: {outcome}"] += 1

    # Clients.

    async def accept(self) -> Outcome:
        if await self.open_jobs() >= self.table.limit:
            return False
        wanted = submission(kind=self.chance.choice(("image", "video")), generation=self.generation(), max_attempts=2)
        (accepted,) = await self.store.accept([wanted])
        self.table.jobs.append(accepted.job_id)
        return accepted.outcome == "created"

    async def send(self) -> Outcome:
        if await self.open_jobs() >= self.table.limit:
            return False
        values = {"queue": self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE)), "body": Jsonb(self.generation())}
        if self.chance.random() < 0.5:
            await self.database.fetch("select pgmq.send(%(queue)s, %(body)s)", values)
        else:
            await self.database.fetch("select public.pgmq_send(%(queue)s, %(body)s)", values)
        return True

    async def cancel(self) -> Outcome:
        before = await self.steering.cancel(self.some_job(), owner=None, actor="client")
        return before in {"QUEUED", "RUNNING", "STAGED", "RETRYING"}

    async def start_again(self, *, paying: bool = False) -> Outcome:
        way = await self.steering.retry(self.some_job(), owner=None, actor="client", accept_second_payment=paying)
        return way.value if isinstance(way, Way) else False

    async def start_again_paying(self) -> Outcome:
        return await self.start_again(paying=True)

    # Workers: what they do at any time, and the steps of their plans.

    async def claim(self) -> Outcome:
        work = self.chance.choice(self.queues)
        lease = self.chance.choice((2, 5, 30))
        jobs = await work.claim(self.chance.randint(1, 3), lease, force=self.chance.random() < 0.2)
        for job in jobs:
            self.table.hold(job, work, rescue=self.chance.random() < 0.7)
        return "resumed" if any(job.operation for job in jobs) else bool(jobs)

    async def work_on(self) -> Outcome:
        free = [held for held in self.table.held if held.plan and not held.turn.locked()]
        if not free:
            return False
        await self.step(self.chance.choice(free))
        return True

    async def step(self, held: Held) -> None:
        """Take the next step of a plan; a worker that hears that its claim is stale drops the rest."""
        async with held.turn:
            if held.plan:
                name = held.plan.pop(0)
                await self.take(name, getattr(self, name)(held))

    async def fenced(self, held: Held, answer: Coroutine[Any, Any, T]) -> T:
        """A step that a stale claim must not win."""
        stale = self.table.is_stale(held)
        won = await answer
        if won and stale:
            self.table.report.violations.append(f"stale claim {held.job.claim} of job {held.job.id} won: {won}")
        if not won:
            held.plan.clear()
        return won

    async def answered(self, held: Held, answer: Coroutine[Any, Any, T]) -> T:
        """A step with the answer of an image's call, which may win under a stale claim."""
        if held.job.kind == "video":
            return await self.fenced(held, answer)
        won = await answer
        if not won:
            held.plan.clear()
        return won

    async def extend(self) -> Outcome:
        wanted = {held.job.id: held for held in self.table.held if self.chance.random() < 0.5}
        work = self.chance.choice(self.queues)
        asked = [held for held in wanted.values() if held.job.queue == work.queue]
        stale = {held.job.id for held in asked if self.table.is_stale(held)}
        kept = await work.extend([held.job for held in asked], self.chance.choice((2, 5, 30)))
        self.table.report.violations += [f"a stale lease of job {job} was extended" for job in kept & stale]
        return bool(kept)

    async def report(self) -> Outcome:
        held = self.some_held()
        return held is not None and await self.fenced(held, held.work.report(held.job, 50, "half"))

    async def release(self) -> Outcome:
        held = self.some_held()
        return held is not None and await self.fenced(held, held.work.release(held.job, 0, "drained"))

    async def die(self) -> Outcome:
        """A worker is killed: the rest of its plan never happens."""
        held = self.some_held()
        cut = held is not None and bool(held.plan)
        if held is not None:
            held.plan.clear()
        return cut

    async def time_out(self) -> Outcome:
        held = self.some_held()
        return held is not None and await self.fenced(held, held.work.retry(held.job, 0, FAULT, spend=False))

    async def freeze(self, held: Held) -> Outcome:
        generation = {"model": "m"} | json.loads(held.job.raw_body or "")
        return await self.fenced(held, held.work.freeze(held.job, generation, "google", "m", ["adopted"]))

    async def miss(self, held: Held) -> Outcome:
        """Nothing of an earlier call is in staging."""
        assert held.job.upload is not None
        artifact = held.job.upload.artifact_id
        missing = self.artifacts.miss(artifact, held.job, patience_seconds=0, error=FAULT)
        return await self.fenced(held, _happened(missing))

    async def wait(self, held: Held) -> Outcome:
        return await self.fenced(held, held.work.retry(held.job, 0, FAULT, spend=False))

    async def open(self, held: Held) -> Outcome:
        stale = self.table.is_stale(held)
        opened = await open_call(self.database, held.job)
        held.call = opened.call_id or 0
        if not held.call:
            held.plan += ["bury"] if opened.refused else []
            return False
        if stale:
            self.table.report.violations.append(f"stale claim {held.job.claim} of job {held.job.id} opened a call")
        if not await self.fenced(held, held.work.holds_lease(held.job, 1)):
            await self.ledger.withdraw(held.call)
            return "withdrawn"
        fates = PLANS[held.job.kind]
        weights = [weight for weight, _ in fates.values()]
        held.fate = next(iter(fates)) if self.orderly else self.chance.choices(list(fates), weights)[0]
        held.plan += fates[held.fate][1]
        return True

    async def keep_name(self, held: Held) -> Outcome:
        name = f"{held.fate}-{held.call}"
        if not self.orderly and self.chance.random() < 0.4:
            held.plan.clear()
            self.table.late.append((held.call, name))
            return False
        await self.ledger.accept(held.call, name)
        return True

    async def late_name(self) -> Outcome:
        if not self.table.late:
            return False
        call, name = self.table.late.popleft()
        await asyncio.gather(*(self.ledger.accept(call, name) for _ in range(self.chance.randint(1, 2))))
        return True

    async def settle(self, held: Held, outcome: CallOutcome) -> Outcome:
        await self.ledger.settle(held.call, ProviderFailure(FAULT, outcome))
        return True

    async def settle_unpaid(self, held: Held) -> Outcome:
        return await self.settle(held, CallOutcome.UNPAID)

    async def settle_paid(self, held: Held) -> Outcome:
        return await self.settle(held, CallOutcome.PAID)

    async def lose(self, held: Held) -> Outcome:
        return await self.settle(held, CallOutcome.UNKNOWN)

    async def begin(self, held: Held) -> Outcome:
        kind = held.job.kind
        new = self.artifacts.begin(
            held.job, staging_bucket="staging", bucket=f"storyboard-{kind}s", path_prefix="board/x", facts=FACTS
        )
        begun = await self.answered(held, new)
        held.artifact = begun.id if begun else None
        return bool(begun)

    async def stage(self, held: Held) -> Outcome:
        assert held.artifact is not None
        return await self.answered(held, self.artifacts.stage(held.artifact, held.job))

    async def retry(self, held: Held) -> Outcome:
        return await self.fenced(held, held.work.retry(held.job, 0, FAULT, spend=self.chance.random() < 0.8))

    async def fail(self, held: Held) -> Outcome:
        return await self.fenced(held, held.work.fail(held.job, FAULT))

    async def bury(self, held: Held) -> Outcome:
        return await self.fenced(held, held.work.bury(held.job, FAULT))

    # Asset_writers: each may act on what another has leased since.

    async def lease(self) -> Outcome:
        lease = self.chance.choice((2, 5, 30))
        leased = await self.artifacts.claim(artifact_id=None, quantity=2, lease_seconds=lease, min_age_seconds=0)
        self.table.leased.extend(artifact.id for artifact in leased)
        return bool(leased)

    async def finish(self) -> Outcome:
        """Several at once: some of them for one artifact, all of them into one storyboard."""
        leased = self.chance.choices(self.table.leased, k=3) if self.table.leased else []
        finishes = (finish(self.database, artifact, f"http://storage/{artifact}") for artifact in leased)
        answers = await asyncio.gather(*finishes)
        won = [artifact for artifact, (_, wins) in zip(leased, answers, strict=True) if wins]
        twice = set(won) & self.table.finished or len(set(won)) < len(won)
        self.table.report.violations += [f"finished twice: {won}"] * bool(twice)
        self.table.finished.update(won)
        return bool(won)

    async def extend_artifact(self) -> Outcome:
        artifact = self.some_leased()
        return artifact is not None and await self.artifacts.extend(artifact, 1)

    async def give_back(self) -> Outcome:
        artifact = self.some_leased()
        return artifact is not None and await self.artifacts.give_back(artifact, FAULT) == "RETRYING"

    async def bury_artifact(self) -> Outcome:
        artifact = self.some_leased()
        return artifact is not None and await self.artifacts.bury(artifact, FAULT) == "DEAD_LETTERED"

    async def clean(self) -> Outcome:
        cleanups = await self.cleanups.claim(older_than_seconds=0, limit=5)
        await self.cleanups.end(cleanups)
        return bool(cleanups)

    # Operators, and time.

    async def redrive(self, *, paying: bool = False, edit: Edit | None = None) -> Outcome:
        jobs = self.some_jobs()
        return await self.steering.redrive(jobs, actor="operator", accept_second_payment=paying, edit=edit) is None

    async def redrive_paying(self) -> Outcome:
        return await self.redrive(paying=True)

    async def redrive_edited(self) -> Outcome:
        return await self.redrive(paying=True, edit=Edit(self.generation(), "google", "m", ["edited"]))

    async def discard(self) -> Outcome:
        jobs = self.some_jobs()
        return await self.steering.discard(jobs, actor="operator") is None

    async def pause(self, *, paused: bool = True) -> Outcome:
        return await self.steering.pause(self.chance.choice(self.queues).queue, paused=paused, actor="operator")

    async def resume(self) -> Outcome:
        return await self.pause(paused=False)

    async def close_gate(self) -> Outcome:
        await self.queues[0].close_gate("m", 0.005, "busy")
        return True

    async def sweep(self) -> Outcome:
        """Two at once, one of which finds that jobs were claimed too often."""
        for duties in await asyncio.gather(
            Sweeper(self.database).sweep(), Sweeper(self.database, max_claims=9).sweep()
        ):
            self.table.report.won.update(f"sweep: {duty.name}" for duty in duties if duty.changed)
        return False

    async def remove(self) -> Outcome:
        """A message goes by hand, one way or the other."""
        queue = self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE))
        seen = await self.by_hand.fetch(SEEN[queue])
        if not seen:
            return False
        values = {"queue": queue, "id": self.chance.choice(seen)["msg_id"]}
        if self.chance.random() < 0.5:
            rows = await self.by_hand.fetch("select public.pgmq_delete(%(queue)s, %(id)s) as gone", values)
        else:
            rows = await self.by_hand.fetch("select public.pgmq_archive(%(queue)s, %(id)s) as gone", values)
        return bool(rows[0]["gone"])

    async def preview(self) -> Outcome:
        """Somebody looks at messages and so hides them from others who look."""
        queue = self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE))
        return bool(await self.database.fetch("select msg_id from pgmq.read(%(queue)s, 600, 10)", {"queue": queue}))

    async def move_visibility(self) -> Outcome:
        """Somebody shows or hides a message."""
        queue = self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE))
        seen = await self.database.fetch(SEEN[queue])
        if not seen:
            return False
        values = {"queue": queue, "id": self.chance.choice(seen)["msg_id"], "seconds": self.chance.choice((0, 600))}
        moved = "select msg_id from pgmq.set_vt(%(queue)s, %(id)s::bigint, %(seconds)s::int)"
        return bool(await self.database.fetch(moved, values))

    async def hold_locks(self) -> Outcome:
        """Somebody keeps messages, jobs and turns locked for a moment."""
        queue = self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE))
        locked = await self.database.fetch(LOCKED[queue], {"queue": queue})
        return bool(locked)

    async def expire(self) -> Outcome:
        """As if leases of messages and of artifacts had run out."""
        await expire_lease(self.database, self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE)))
        await self.database.fetch("update superstoryboard.artifacts set lease_until = null where state = 'STAGED'")
        return True

    async def age(self) -> Outcome:
        """As if what is being uploaded had been so for hours."""
        aged = await self.database.fetch(
            "update superstoryboard.artifacts set created_at = created_at - interval '2 hours'"
            " where state = 'UPLOADING' returning id"
        )
        return bool(aged)

    # What is at hand.

    def generation(self) -> dict[str, Any]:
        """Entities that collide: two scenes, one of them under its older key, and a character."""
        entities = {"sceneId": self.chance.choice(("s1", "s2"))}
        if self.chance.random() < 0.5:
            entities["characterId"] = "c1"
        return {"storyboardId": BOARD, "prompt": "a fox", "model": "m"} | entities

    def some_job(self) -> UUID:
        return self.chance.choice(self.table.jobs) if self.table.jobs else UUID(int=0)

    def some_jobs(self) -> list[UUID]:
        return [self.some_job() for _ in range(self.chance.choice((1, 1, 1, 2)))]

    def some_held(self) -> Held | None:
        return self.chance.choice(self.table.held) if self.table.held else None

    def some_leased(self) -> UUID | None:
        return self.chance.choice(self.table.leased) if self.table.leased else None

    async def open_jobs(self) -> int:
        counted = await self.database.fetch_one(
            "select count(*) from superstoryboard.jobs where state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING')"
        )
        return int(counted["count"])


async def _happened(answer: Coroutine[Any, Any, float | None]) -> bool:
    return await answer is not None
