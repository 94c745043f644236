"""Periodic duties, each in a transaction of its own: one that fails or waits for others stops no other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, LiteralString

import psycopg

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.statements import Statements
from superstoryboard.telemetry.logs import get_logger

log = get_logger("sweep")


class Sql(Statements):
    """Statements of sweeps.sql."""

    sweep_duties: LiteralString
    sweep_duty: LiteralString


@dataclass(frozen=True)
class Ages:
    """After how long what is ended goes, and what does not end is given up; the defaults are those of SQL."""

    job_max_age: timedelta = timedelta(days=7)
    events: timedelta = timedelta(days=30)
    jobs: timedelta = timedelta(days=400)
    archives: timedelta = timedelta(days=90)
    dead_letters: timedelta | None = None
    """None keeps them until a person decides."""

    def values(self) -> dict[str, Any]:
        """Values of the statement that runs a duty."""
        return dict(vars(self))


@dataclass(frozen=True)
class Duty:
    """What one duty changed, and why it failed, for all queues or for those that the error names."""

    name: str
    changed: int
    error: str = ""


class Sweeper:
    """Runs the duties."""

    def __init__(self, database: Database, ages: Ages | None = None, *, max_claims: int = 1000) -> None:
        self._database = database
        self._values = (ages or Ages()).values() | {"max_claims": max_claims}

    async def sweep(self) -> list[Duty]:
        """Run every duty once, save those that another sweep is at.

        Raises:
            DatabaseUnavailableError: the database is away; what was done until then stays done.
        """
        rows = await self._database.fetch(Sql.sweep_duties)
        ran = [await self._run(row["name"]) for row in rows]
        return [duty for duty in ran if duty is not None]

    async def _run(self, name: str) -> Duty | None:
        try:
            row = await self._database.fetch_one(
                Sql.sweep_duty,
                self._values | {"name": name},
            )
        except (psycopg.Error, DatabaseUnavailableError) as error:
            if type(error) is DatabaseUnavailableError:
                raise
            reason = f"SQLSTATE {error.sqlstate}" if isinstance(error, psycopg.Error) else str(error)
            log.exception("A sweep duty failed; the other duties continue", duty=name)
            return Duty(name, 0, reason)
        if row["error"]:
            log.error("A sweep duty failed for a queue; the other queues continue", duty=name, reason=row["error"])
        return None if row["changed"] is None else Duty(name, row["changed"], row["error"] or "")
