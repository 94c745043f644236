"""Clients and operators in the race: they ask for jobs, cancel, start again, redrive, discard, pause and sweep."""

from __future__ import annotations

import asyncio

from psycopg.types.json import Jsonb

from superstoryboard.domain.priorities import Priority
from superstoryboard.jobs.steering import Way
from superstoryboard.jobs.store import FrozenGeneration
from superstoryboard.jobs.sweeps import Sweeper
from tests.faults.race_hands import Hands, Outcome
from tests.integration.helpers import IMAGE_QUEUE, VIDEO_QUEUE, submission

OWNERS = ("alice", "bob", "carol")


class Clients(Hands):
    """Who asks for jobs, and changes their mind."""

    async def accept(self) -> Outcome:
        if await self.open_jobs() >= self.table.limit:
            return False
        asked = submission(
            kind=self.chance.choice(("image", "video")),
            owner=self.chance.choice(OWNERS),
            priority=self.chance.choice(list(Priority)),
            generation=self.generation(),
            max_attempts=2,
        )
        (accepted,) = await self.store.accept([asked])
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


class Operators(Hands):
    """Who runs the system, and its sweeper."""

    async def redrive(self, *, paying: bool = False, edit: FrozenGeneration | None = None) -> Outcome:
        jobs = self.some_jobs()
        return await self.steering.redrive(jobs, actor="operator", accept_second_payment=paying, edit=edit) is None

    async def redrive_paying(self) -> Outcome:
        return await self.redrive(paying=True)

    async def redrive_edited(self) -> Outcome:
        return await self.redrive(paying=True, edit=FrozenGeneration(self.generation(), "google", "m", ["edited"]))

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
