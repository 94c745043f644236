"""Steps of the tests about the sweep."""

from __future__ import annotations

from uuid import UUID

import psycopg

from superstoryboard.db.database import Database
from superstoryboard.jobs.sweeps import Sweeper


async def sweep(database: Database) -> dict[str, int]:
    return {duty.name: duty.changed for duty in await Sweeper(database).sweep() if duty.changed}


def age(sql: psycopg.Connection, job_id: UUID, interval: str) -> None:
    """Make a job older, its message with it."""
    sql.execute(
        "update pgmq.q_image_generation_queue set enqueued_at = enqueued_at - %s::interval where msg_id ="
        " (select msg_id from superstoryboard.jobs where id = %s)",
        (interval, job_id),
    )
    sql.execute(
        "update superstoryboard.jobs set enqueued_at = enqueued_at - %(i)s::interval,"
        " scheduled_at = scheduled_at - %(i)s::interval,"
        " ended_at = ended_at - %(i)s::interval where id = %(id)s",
        {"i": interval, "id": job_id},
    )
