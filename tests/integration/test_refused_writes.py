"""A write that the database refuses again and again is shown, counted, put off and in the end a dead letter, unlost."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from structlog.testing import capture_logs

from services.asset_writer.endings import Endings, Patience
from superstoryboard.db.database import Database
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.steering import Steering
from tests.integration.helpers import ENDING, KV, accept, claim_one, finish, image_queue, row, stage

REFUSALS = 4
ARTIFACT = "select state, refusals, lease_until = 'infinity' from superstoryboard.artifacts where id = %s"


@pytest.fixture
def refusing(sql: psycopg.Connection) -> None:
    """A trigger of the key-value table that takes no link."""
    sql.execute(f"insert into {KV} values ('scene:board:scene-1', '{{\"id\": \"scene-1\"}}')")
    sql.execute(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'no' using errcode = '23514'; end $$"
    )
    sql.execute(f"create trigger refuse before update on {KV} for each row execute function refuse()")


async def fail_once(database: Database, sql: psycopg.Connection, artifact_id: UUID) -> str:
    """One write as the asset_writer does it, at the time at which the artifact is due again."""
    artifacts = Artifacts(database)
    sql.execute("update superstoryboard.artifacts set lease_until = now() where lease_until < 'infinity'")
    (claimed,) = await artifacts.claim(artifact_id=artifact_id, quantity=1, lease_seconds=60, min_age_seconds=0)
    with pytest.raises(psycopg.errors.CheckViolation) as refusal:
        await finish(database, artifact_id)
    return await Endings(artifacts, ENDING, Patience(refusals=REFUSALS)).failed(claimed, refusal.value, uploaded=True)


@pytest.mark.usefixtures("refusing")
async def test_refused_writes_show_count_back_off_and_end_with_their_artifact_kept(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accept(database)
    artifact_id = await stage(database, await claim_one(image_queue(database)))
    waits = []
    for count in range(1, REFUSALS):
        with capture_logs() as told:
            assert await fail_once(database, sql, artifact_id) == "postponed"
        waits += [line["seconds"] for line in told if "seconds" in line]
        shown = await row(database, job_id)
        assert (shown["state"], shown["error"]["code"]) == ("STAGED", "LINK_REFUSED")
        assert sql.execute(ARTIFACT, (artifact_id,)).fetchone() == ("STAGED", count, False)
    assert all(longest / 2 <= wait <= longest for wait, longest in zip(waits, [1, 2, 4], strict=True))
    events = "select count(*) from superstoryboard.job_events where state = 'STAGED'"
    assert sql.execute(events).fetchone() == (2,), "staged, and once why it is not written"
    assert await fail_once(database, sql, artifact_id) == "buried"
    dead = await row(database, job_id)
    assert (dead["state"], dead["error"]["code"]) == ("DEAD_LETTERED", "LINK_REFUSED")
    assert sql.execute(ARTIFACT, (artifact_id,)).fetchone() == ("STAGED", 0, True)
    assert sql.execute("select count(*) from pgmq.q_image_generation_queue").fetchone() == (0,)


@pytest.mark.usefixtures("refusing")
async def test_a_redrive_begins_the_count_anew_and_pays_nothing(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    artifact_id = await stage(database, await claim_one(image_queue(database)))
    assert [await fail_once(database, sql, artifact_id) for _ in range(REFUSALS)][-1] == "buried"
    assert await Steering(database).redrive([job_id], actor="operator") is None
    assert await fail_once(database, sql, artifact_id) == "postponed"
    sql.execute(f"drop trigger refuse on {KV}")
    assert await finish(database, artifact_id) == ("SUCCEEDED", True)
