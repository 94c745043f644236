"""Ways to what belongs to others that go beside the check of the storyboard (decision 0044)."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.steering import Refusal, Steering
from tests.integration.helpers import KV, accept, row
from tests.integration.storyboard_steps import accepted, let_lapse, owner_of, put_kv, store_asset, submit

OLDER = f"select value ? 'imageUrl' from {KV} where key = 'scene:scene-1'"


@pytest.mark.parametrize(
    ("board", "linked"),
    [
        (None, False),
        ({"userId": "mallory"}, False),
        ({"userId": "mallory", "scenes": [{"id": "scene-2"}, "scene-1", None]}, False),
        ({"userId": "mallory", "scenes": "scene-1", "characters": [{"id": "scene-1"}]}, False),
        ({"userId": "mallory", "scenes": [{"id": "scene-1"}]}, True),
    ],
)
async def test_an_older_row_without_storyboard_is_for_who_owns_a_storyboard_that_lists_it(
    database: Database, sql: psycopg.Connection, board: dict[str, object] | None, linked: bool
) -> None:
    put_kv(sql, "scene:scene-1", {"title": "of whom?"})
    if board:
        put_kv(sql, "storyboard:mine", board)
    job_id = await accepted(database, "mallory", board="mine")
    await store_asset(database)
    assert sql.execute(OLDER).fetchone() == (linked,)
    assert (await row(database, job_id))["warnings"] == ([] if linked else ["entity not found"])


async def test_a_service_links_an_older_row_as_before(database: Database, sql: psycopg.Connection) -> None:
    put_kv(sql, "scene:scene-1", {})
    await accept(database)
    await store_asset(database)
    assert sql.execute(OLDER).fetchone() == (True,)


async def test_who_has_a_job_waiting_for_longer_than_a_day_stays_the_first(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accepted(database, "alice", delay_seconds=int(timedelta(days=30).total_seconds()))
    let_lapse(sql)
    assert await submit(database, "mallory") == ("NOT_YOURS", None)
    assert await Steering(database).cancel(job_id, owner="mallory", actor="mallory", names=["mallory"]) is None
    assert owner_of(sql) == "alice"
    assert await Steering(database).cancel(job_id, owner="alice", actor="alice", names=["alice"]) == "QUEUED"
    let_lapse(sql)
    await accepted(database, "mallory")
    retried = await Steering(database).retry(job_id, owner="alice", actor="alice", names=["alice"])
    assert retried is Refusal.NOT_YOURS
