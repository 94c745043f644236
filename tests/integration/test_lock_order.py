"""Whoever needs a call and its artifact locks the call first: no two of them can wait for each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from superstoryboard.db.database import Database
from tests.integration.helpers import accept, begin, claim_one, image_queue, intend

BLOCKED = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and pid = %s"

STEPS: dict[str, LiteralString] = {
    "settle": "select superstoryboard.settle_call_v1(%(call)s, false, null)",
    "lose": "select superstoryboard.lose_call_v1(%(call)s, '{}')",
    "begin": (
        "select superstoryboard.begin_artifacts_v1("
        '%(job)s, 1, \'s\', \'[{"bucket": "storyboard-images", "extension": "png"}]\')'
    ),
    "stage": "select superstoryboard.stage_artifacts_v1(array[%(artifact)s::uuid], %(job)s, 1)",
    "miss": "select superstoryboard.miss_artifact_v1(%(artifact)s, %(job)s, 1, 0, '{}')",
    "cancel": "select superstoryboard.cancel_job_v1(%(job)s, null, 'bob')",
}


async def called(database: Database) -> dict[str, UUID | int]:
    """A job whose call is under way, and the artifact that waits for its answer."""
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    call_id = await intend(database, job)
    assert call_id is not None
    return {"job": job_id, "call": call_id, "artifact": (await begin(database, job)).id}


@pytest.mark.parametrize("step", STEPS)
async def test_the_artifact_is_free_while_the_call_is_waited_for(
    database: Database, database_url: str, sql: psycopg.Connection, step: str
) -> None:
    ids = await called(database)
    with (
        psycopg.connect(database_url) as holder,
        psycopg.connect(database_url) as actor,
        ThreadPoolExecutor(1) as pool,
    ):
        holder.execute("select from superstoryboard.provider_calls where id = %(call)s for update", ids)
        acting = pool.submit(actor.execute, STEPS[step], ids)
        try:
            while sql.execute(BLOCKED, (actor.info.backend_pid,)).fetchone() == (0,):
                assert not acting.done(), "it needs no lock on the call"
            with sql.transaction(force_rollback=True):
                sql.execute("select from superstoryboard.artifacts where id = %(artifact)s for update nowait", ids)
        finally:
            holder.rollback()
        acting.result()


async def test_a_call_settled_while_its_job_starts_again_edited_is_no_deadlock(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    ids = await called(database)
    sql.execute("update superstoryboard.jobs set state = 'DEAD_LETTERED', ended_at = now()")
    again = "select superstoryboard.redrive_job_v1(%(job)s, null, 'bob', '{DEAD_LETTERED}', true, '{}', 'p', 'm', '{}')"
    with (
        psycopg.connect(database_url) as holder,
        psycopg.connect(database_url, autocommit=True) as starting,
        psycopg.connect(database_url, autocommit=True) as settling,
        ThreadPoolExecutor(2) as pool,
    ):
        try:
            holder.execute("select from superstoryboard.provider_calls where id = %(call)s for update", ids)
            acting = []
            for actor, step in ((starting, again), (settling, STEPS["settle"])):
                acting.append(pool.submit(actor.execute, step, ids))
                while sql.execute(BLOCKED, (actor.info.backend_pid,)).fetchone() == (0,):
                    assert not acting[-1].done(), "it needs no lock on the call"
        finally:
            holder.rollback()
        assert acting[0].result().fetchone() == ("NEW_CALL",)
        acting[1].result()
