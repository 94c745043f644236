"""The name of an operation is logged, then kept whatever the database says; one that is lost is looked for (G1)."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from structlog.testing import capture_logs

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.lost_operations import LostOperations, Recorded
from superstoryboard.jobs.steering import Steering
from tests.integration.helpers import VIDEO_QUEUE, accept, claim_one, expire_lease, intend, video_queue
from tests.waiting import awaited

REFUSALS = 3
REFUSE = """
create sequence tried;
create function refuse() returns trigger language plpgsql as $$
begin
  if nextval('public.tried') <= {count} then
    raise exception 'refused' using errcode = '{state}';
  end if;
  return new;
end $$;
create trigger refuse before update on {table} for each row execute function refuse()
"""
NAMED = "select state from superstoryboard.provider_calls where operation_name = 'op'"


async def submitted(database: Database) -> int:
    """A video whose submit was sent and whose worker seems gone: the job is a dead letter, its call unknown."""
    await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database, "other").claim(1, 60) == []
    return call


# Of each class that means away, then what a database refuses for good: a right, a trigger, a broken index.
@pytest.mark.parametrize(
    "state", ["08006", "25006", "53100", "53300", "57P01", "58030", "55P03", "42501", "23514", "P0001", "XX002"]
)
@pytest.mark.parametrize("table", ["superstoryboard.provider_calls", "superstoryboard.jobs"])
async def test_a_name_is_kept_and_its_job_goes_on_whatever_the_database_answers(
    database: Database, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, state: str, table: str
) -> None:
    call = await submitted(database)
    # As if each of them lasted for longer than one statement is repeated.
    monkeypatch.setattr("superstoryboard.jobs.ledger.PATIENCE_SECONDS", 0)
    sql.execute(REFUSE.format(count=REFUSALS, state=state, table=table))
    await Ledger(database).accept(call, "op")
    tried = sql.execute("select last_value > %s from tried", (REFUSALS,)).fetchone()
    assert tried == (True,), "the refusal was met"
    assert sql.execute(NAMED).fetchone() == ("ACCEPTED",)
    resumed = await claim_one(video_queue(database))
    assert resumed.operation is not None
    assert resumed.operation.name == "op"


async def test_a_name_is_in_the_log_before_it_is_written(database: Database, database_url: str) -> None:
    call = await submitted(database)
    with psycopg.connect(database_url) as stranger, capture_logs() as logs:
        stranger.execute("select from superstoryboard.provider_calls for update")
        accepting = asyncio.create_task(Ledger(database).accept(call, "op"))
        waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%keep_name%'"
        await awaited(lambda: database.fetch(waits), beside=accepting)
        told = [(entry["event"], entry["call_id"], entry["operation"]) for entry in logs if "operation" in entry]
        assert told == [("Operation accepted", call, "op")], "from there it can be entered by hand"
        assert await database.fetch(NAMED) == []
    await accepting
    assert await database.fetch(NAMED) == [{"state": "ACCEPTED"}]


async def test_a_lost_operation_is_looked_for_whatever_the_gate_and_the_pause_say(database: Database) -> None:
    lost_id = await accept(database, kind="video")
    work = video_queue(database)
    call = await intend(database, await claim_one(work))
    assert call is not None
    await LostOperations(database).search_for(call, 900)
    await accept(database, kind="video")
    await expire_lease(database, VIDEO_QUEUE)
    await work.close_gate("m", 3600, "QUOTA_EXHAUSTED")
    await Steering(database).pause(VIDEO_QUEUE, paused=True, actor="operator")
    (looking,) = await work.claim(5, 60)
    assert looking.lost is not None
    assert (looking.id, looking.lost.call_id) == (lost_id, call)


async def test_a_name_is_not_recorded_for_a_call_that_was_settled_meanwhile(database: Database) -> None:
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    unpaid = ProviderFailure(JobError(ErrorClass.INVALID, "PROVIDER_INVALID_ARGUMENT", "no"), CallOutcome.UNPAID)
    await Ledger(database).settle(call, unpaid)
    assert await LostOperations(database).record(job_id, call, "op", actor="operator") is Recorded.NO_OPEN_CALL
    assert await database.fetch(NAMED) == []


async def test_an_operation_is_that_of_one_call_only(database: Database, sql: psycopg.Connection) -> None:
    call = await submitted(database)
    await Ledger(database).accept(call, "op")
    again = (
        "insert into superstoryboard.provider_calls"
        " (job_id, claim, call_hash, route, shape, model, state, operation_name)"
        " select job_id, 2, 'another', %s, shape, model, 'UNKNOWN', 'op' from superstoryboard.provider_calls"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql.execute(again, ("r",))
    sql.execute(again, ("another route",))
