"""Workers in the race.

They keep to their order of steps, but may stop after any, go on with a stale claim, or hear of an operation late.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from tests.faults.race_hands import FAULT, Hands, Outcome
from tests.faults.race_table import PLANS, Held
from tests.integration.helpers import FACTS, open_call

T = TypeVar("T")


class Workers(Hands):
    """What a worker does at any time, and the steps of its plans."""

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
        chosen = {held.job.id: held for held in self.table.held if self.chance.random() < 0.5}
        work = self.chance.choice(self.queues)
        asked = [held for held in chosen.values() if held.job.queue == work.queue]
        stale = {held.job.id for held in asked if self.table.is_stale(held)}
        kept = await work.extend([held.job for held in asked], self.chance.choice((2, 5, 30)))
        self.table.report.violations += [f"a stale lease of job {job} was extended" for job in kept & stale]
        return bool(kept)

    async def report(self) -> Outcome:
        held = self.some_held()
        return held is not None and await self.fenced(held, held.work.report(held.job, 50, "half")) is not None

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
        new = self.artifacts.begin(held.job, staging_bucket="staging", results=[FACTS])
        begun = await self.answered(held, new)
        held.artifact = begun[0].id if begun else None
        return bool(begun)

    async def stage(self, held: Held) -> Outcome:
        assert held.artifact is not None
        return await self.answered(held, self.artifacts.stage([held.artifact], held.job))

    async def retry(self, held: Held) -> Outcome:
        return await self.fenced(held, held.work.retry(held.job, 0, FAULT, spend=self.chance.random() < 0.8))

    async def fail(self, held: Held) -> Outcome:
        return await self.fenced(held, held.work.fail(held.job, FAULT))

    async def bury(self, held: Held) -> Outcome:
        return await self.fenced(held, held.work.bury(held.job, FAULT))


async def _happened(answer: Coroutine[Any, Any, float | None]) -> bool:
    return await answer is not None
