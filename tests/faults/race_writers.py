"""Asset_writers in the race: each may act on what another has leased since."""

from __future__ import annotations

import asyncio

from tests.faults.race_hands import FAULT, Hands, Outcome
from tests.integration.helpers import ENDING, finish


class AssetWriters(Hands):
    """Who writes assets and removes what is left in staging."""

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
        return artifact is not None and await self.artifacts.give_back(artifact, FAULT, ENDING) == "RETRYING"

    async def bury_artifact(self) -> Outcome:
        artifact = self.some_leased()
        return artifact is not None and await self.artifacts.bury(artifact, FAULT, ENDING) == "DEAD_LETTERED"

    async def clean(self) -> Outcome:
        cleanups = await self.cleanups.claim(older_than_seconds=0, limit=5)
        await self.cleanups.end(cleanups)
        return bool(cleanups)
