"""However late the first claim after a lost answer comes, its operation is looked for once more, and only once (I2)."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from superstoryboard.db.database import Database
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import encoded
from tests.integration.helpers import VIDEO_QUEUE, accept, expire_lease, row, video_queue
from tests.integration.lost_steps import CALLS, LIST_PATH, VEO, entry, lists, lose_answer, submits
from tests.integration.route_steps import GEMINI, attempt, ending, routes_with
from tests.waiting import awaited

DOWN = "update superstoryboard.provider_calls set search_until = now() - interval '1 hour'"
"""As if everything had been down for longer than an operation is looked for."""
WAITS = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%keep_name%'"


def looks(stub: Stub) -> int:
    return len([asked for asked in stub.asked if asked.target.startswith(LIST_PATH + "?")])


async def test_an_operation_is_found_after_the_time_of_its_search_went_by_without_a_look(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await lose_answer(database, stub, monkeypatch)
    sql.execute(DOWN)
    lists(stub, entry("abc"))
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert (done.job.id, ending(done)) == (job_id, ("FAILED", "SAFETY"))
    assert sql.execute(CALLS).fetchall() == [("SETTLED", False, VEO.operation, "SAFETY")]
    assert (looks(stub), submits(stub, VEO)) == (1, 1)


async def test_a_last_look_that_finds_nothing_is_the_last(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await lose_answer(database, stub, monkeypatch)
    sql.execute(DOWN)
    lists(stub)
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert ending(done) == ("RETRYING", "OPERATION_LOOKUP_PENDING")
    assert looks(stub) == 1
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    dead = await row(database, job_id)
    assert (dead["state"], dead["error"]["code"], dead["attempt"]) == ("DEAD_LETTERED", "NO_RESPONSE", 1)
    assert sql.execute(CALLS).fetchall() == [("UNKNOWN", None, None, "NO_RESPONSE")]


async def test_a_worker_that_is_lost_in_the_last_look_gets_no_other(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await lose_answer(database, stub, monkeypatch)
    sql.execute(DOWN)
    (last,) = await video_queue(database).claim(1, 60)
    assert last.lost is not None
    assert last.lost.left_seconds < 0
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    assert (await row(database, job_id))["state"] == "DEAD_LETTERED"


async def test_an_operation_that_became_another_calls_since_it_was_listed_is_not_polled(
    database: Database, sql: psycopg.Connection, database_url: str, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_answer(database, stub, monkeypatch)
    lists(stub, entry("abc"))
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    other = await accept(database, model="m")
    with psycopg.connect(database_url) as faster:
        faster.execute(
            "insert into superstoryboard.provider_calls"
            " (job_id, claim, call_hash, route, shape, model, state, operation_name)"
            " values (%s, 1, 'g', 'veo_gemini', 'OPERATION', 'm', 'ACCEPTED', %s)",
            (other, VEO.operation),
        )
        looking = asyncio.create_task(attempt(database, routes_with(stub.url, monkeypatch, GEMINI)))
        await awaited(lambda: database.fetch(WAITS), beside=looking)  # it found the name and waits to have it
    done = await looking
    assert ending(done) == ("RETRYING", "OPERATION_LOOKUP_PENDING")
    assert sql.execute(CALLS + " limit 1").fetchall() == [("INTENT", None, None, "NO_RESPONSE")]
    assert VEO.poll_path not in {asked.target for asked in stub.asked}
