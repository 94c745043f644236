"""Every transition of the database at once on a handful of jobs, and what must hold whatever the interleaving."""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from psycopg import Connection, connect
from psycopg.types.json import Jsonb

from devstack.stack.postgres import Postgres
from superstoryboard.db.database import Database
from superstoryboard.db.migrate import migrate
from superstoryboard.jobs.sweeps import Sweeper
from tests.faults.race_actors import Actor
from tests.faults.race_checks import CHECKS, MOVES, PREPARE
from tests.faults.race_hands import BOARD, BY_HAND
from tests.faults.race_table import Pace, RaceReport, Table
from tests.integration.helpers import KV, expire_lease, finish

ACTORS = 8
DRAIN_ROUNDS = 40


async def race(database_url: str, *, seconds: float, seed: int, jobs: int = 6) -> RaceReport:
    """Race on a migrated database of its own for so many seconds, let everything end, and check what must hold.

    About `jobs` jobs are open at any time. A busy machine, which takes fewer steps in that time, is given more of it.
    """
    table = Table(RaceReport(seed), jobs)
    async with AsyncExitStack() as stack:

        async def connect(name: str, pool_size: int) -> Database:
            database = await Database.connect(database_url, name=name, pool_size=pool_size)
            stack.push_async_callback(database.aclose)
            return database

        setting_up = await connect("race", 1)
        await _set_up(setting_up)
        by_hand = await connect(BY_HAND, 2)
        actors = [
            Actor(table, await connect(f"actor-{number}", 3), by_hand, random.Random(f"{seed}-{number}"), str(number))
            for number in range(ACTORS)
        ]
        pace = Pace(table.report, seconds)
        async with asyncio.TaskGroup() as racing:
            for actor in actors:
                racing.create_task(actor.race(pace))
        await _drain(table, actors[0])
        await _check(setting_up, table.report)
    return table.report


async def _set_up(database: Database) -> None:
    await database.fetch(PREPARE)
    rows: dict[str, dict[str, Any]] = {
        f"storyboard:{BOARD}": {"scenes": [{"id": "s1"}, {"id": "s2"}], "characters": [{"id": "c1"}]},
        f"scene:{BOARD}:s1": {"id": "s1"},
        "scene:s2": {"id": "s2"},
        f"character:{BOARD}:c1": {"id": "c1"},
    }
    for key, value in rows.items():
        await database.fetch(f"insert into {KV} values (%(key)s, %(value)s)", {"key": key, "value": Jsonb(value)})


async def _drain(table: Table, actor: Actor) -> None:
    """One orderly worker and asset_writer bring every job to its end; half of the late names still come."""
    actor.orderly = True
    for call, name in list(table.late)[::2]:
        await actor.take("late_name", actor.ledger.accept(call, name))
    for work in actor.queues:
        await actor.steering.pause(work.queue, paused=False, actor="operator")
    for _ in range(DRAIN_ROUNDS):
        for work in actor.queues:
            await expire_lease(actor.database, work.queue)
            for job in await work.claim(100, 60, force=True):
                held = table.hold(job, work, rescue=True)
                while held.plan:
                    await actor.step(held)
        await actor.take("expire", actor.expire())
        for artifact in await actor.artifacts.claim(
            artifact_id=None, quantity=100, lease_seconds=60, min_age_seconds=0
        ):
            await finish(actor.database, artifact.id, f"http://storage/{artifact.id}")
        await actor.take("age", actor.age())
        await Sweeper(actor.database).sweep()
        if not await actor.open_jobs():
            return


async def _check(database: Database, report: RaceReport) -> None:
    await database.fetch("analyze race.log")
    for name, statement in CHECKS.items():
        for row in await database.fetch(statement):
            report.violations.append(f"{name}: " + ", ".join(f"{key}={value}" for key, value in row.items()))
    for row in await database.fetch(MOVES):
        report.moves[row["move"]] = row["count"]
    counted = await database.fetch_one("select deadlocks from pg_stat_database where datname = current_database()")
    report.deadlocks = counted["deadlocks"]


def race_once(
    *, seconds: float, seed: int, jobs: int = 6, prepare: Callable[[Connection], None] | None = None
) -> RaceReport:
    """Race on a Postgres of its own; `prepare` may change its schema before."""
    with TemporaryDirectory(prefix="race-") as folder, Postgres(Path(folder), settings={"fsync": "off"}) as postgres:
        migrate(postgres.url, kv_table=KV)
        if prepare is not None:
            with connect(postgres.url, autocommit=True) as connection:
                prepare(connection)
        return asyncio.run(race(postgres.url, seconds=seconds, seed=seed, jobs=jobs))


def main() -> int:
    """Race on a Postgres of its own and print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.race", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--jobs", type=int, default=6)
    asked = parser.parse_args()
    report = race_once(seconds=asked.seconds, seed=asked.seed, jobs=asked.jobs)
    sys.stdout.write(report.text() + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
