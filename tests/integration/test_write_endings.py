"""What a write that failed costs its job, on the real database: what passes by itself is waited for (I1)."""

from __future__ import annotations

import psycopg

from services.asset_writer.endings import Endings, Patience
from superstoryboard.db.database import Database
from superstoryboard.db.errors import StatementTimeoutError
from superstoryboard.jobs.artifacts import Artifacts, StagedArtifact
from tests.integration.helpers import ENDING, accept, claim_one, image_queue, row, stage


async def lease(database: Database, sql: psycopg.Connection) -> StagedArtifact:
    """The staged artifact, as an asset_writer gets it once what it waited for is over."""
    sql.execute("update superstoryboard.artifacts set lease_until = null")
    (leased,) = await Artifacts(database).claim(artifact_id=None, quantity=1, lease_seconds=60, min_age_seconds=0)
    return leased


async def test_a_slow_database_is_waited_for_until_the_maximum_age(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    await stage(database, await claim_one(image_queue(database)))
    endings = Endings(Artifacts(database), ENDING, Patience(refusals=1))
    for _ in range(3):
        outcome = await endings.failed(await lease(database, sql), StatementTimeoutError(), uploaded=True)
        assert outcome == "postponed"
    waiting = await row(database, job_id)
    assert (waiting["state"], waiting["error"]["code"]) == ("STAGED", "LINK_TIMED_OUT")
    assert waiting["error"]["class"] == "UNAVAILABLE_DEPENDENCY"
    assert (await lease(database, sql)).refusals == 0

    sql.execute("update superstoryboard.artifacts set staged_at = staged_at - interval '8 days'")
    sql.execute("select superstoryboard.sweep()")
    dead = await row(database, job_id)
    assert (dead["state"], dead["error"]["code"]) == ("DEAD_LETTERED", "LINK_TIMED_OUT")
