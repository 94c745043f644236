"""Steps of tests about owners of storyboards."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg

from superstoryboard.db.database import Database
from superstoryboard.jobs.store import JobStore
from tests.integration.helpers import KV, claim_one, finish, image_queue, stage, submission

CLAIM = "select superstoryboard.claim_storyboard(%s, %s::text[])"


async def submit(database: Database, *names: str, board: str = "board", **changes: Any) -> tuple[str, UUID | None]:
    """Accept one job of a caller with these names. Returns the outcome, and the job."""
    values = {"owner": names[0], "writes_as": list(names), "generation": {"storyboardId": board}} | changes
    (accepted,) = await JobStore(database).accept([submission(**values)])
    return accepted.outcome, accepted.record["id"]


async def accepted(database: Database, *names: str, board: str = "board", **changes: Any) -> UUID:
    outcome, job_id = await submit(database, *names, board=board, **changes)
    assert outcome == "created"
    assert job_id is not None
    return job_id


async def store_asset(database: Database) -> None:
    """Bring the one job that waits to its end."""
    artifact = await stage(database, await claim_one(image_queue(database)))
    assert await finish(database, artifact) == ("SUCCEEDED", True)


def put_kv(sql: psycopg.Connection, key: str, value: object) -> None:
    sql.execute(
        f"insert into {KV} values (%s, %s) on conflict (key) do update set value = excluded.value",
        (key, json.dumps(value)),
    )


def owner_of(sql: psycopg.Connection, board: str = "board") -> str | None:
    record = sql.execute("select superstoryboard.storyboard_owner(%s)", (board,)).fetchone()
    assert record is not None
    return record[0]  # type: ignore[no-any-return]  # text or null


def let_lapse(sql: psycopg.Connection) -> None:
    """As if a day had passed."""
    sql.execute("update superstoryboard.storyboards set claimed_at = claimed_at - interval '25 h'")
    sql.execute("update superstoryboard.jobs set created_at = created_at - interval '25 h'")
