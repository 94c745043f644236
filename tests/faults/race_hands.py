"""What every one of those who race has at hand: the real stores, a chance of its own, and what it knows of the jobs."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import psycopg

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.cleanups import Cleanups
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from tests.faults.race_table import Held, Table
from tests.integration.helpers import image_queue, video_queue

Outcome = str | bool | None
"""What came of a step: its kind, or whether anything was done."""

BOARD = "board"
BY_HAND = "by-hand"
FAULT = JobError(ErrorClass.TRANSIENT, "INTERNAL", "it broke")


class Hands:
    """The stores, and a way to take a step. `orderly` ones only bring jobs to a good end."""

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
