"""Quotas of images, and submits under them."""

from __future__ import annotations

from typing import Any

import psycopg

from superstoryboard.db.database import Database
from superstoryboard.jobs.store import Accepted, JobStore
from tests.integration.helpers import submission


def allow(sql: psycopg.Connection, *, scope: str = "EVERYONE", owner: str = "", **most: int) -> None:
    """Set a quota of images."""
    sql.execute(
        "insert into superstoryboard.quotas values ('image', %s, %s, %s, %s, %s)",
        (scope, owner, most.get("open_jobs"), most.get("per_minute"), most.get("per_day")),
    )


def hold_clock(sql: psycopg.Connection, owner: str = "alice") -> None:
    """The minute and the day of an owner end tomorrow: no test depends on the clock."""
    sql.execute(
        "insert into superstoryboard.quota_uses as u (owner, kind, minute, day)"
        " values (%s, 'image', now() + interval '1 day', now() + interval '1 day')"
        " on conflict (owner, kind) do update set minute = excluded.minute, day = excluded.day",
        (owner,),
    )


async def submit(database: Database, **changes: Any) -> Accepted:
    return (await JobStore(database).accept([submission(**changes)]))[0]


def quota(accepted: Accepted) -> str:
    """What refused it, or what became of it."""
    return accepted.refusal.quota if accepted.refusal else accepted.outcome
