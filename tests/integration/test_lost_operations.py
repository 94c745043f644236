"""A submit whose answer was lost: searching for its operation, and never sent a second time (I2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.lost_operations import LostOperations
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import VideoRoute, encoded
from tests.integration.helpers import VIDEO_QUEUE, claim_one, expire_lease, row, video_queue
from tests.integration.lost_steps import (
    CALLS,
    CUT,
    LIST_PATH,
    OMNI,
    VEO,
    VERTEX,
    ask_for,
    entry,
    lists,
    lose_answer,
    submits,
)
from tests.integration.route_steps import EXPRESS, GEMINI, attempt, ending, open_operation, routes_with


async def test_a_submit_without_an_answer_is_found_in_the_providers_list(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await lose_answer(database, stub, monkeypatch)
    assert sql.execute(CALLS).fetchall() == [("INTENT", None, None, "NO_RESPONSE")]
    old = entry("old", created=datetime.now(UTC) - timedelta(minutes=2))
    lists(stub, entry("other", prompt="a hare"), entry("abc"), old, entry("odd") | {"name": "odd"}, {})
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert (done.job.id, ending(done)) == (job_id, ("FAILED", "SAFETY"))
    assert sql.execute(CALLS).fetchall() == [("SETTLED", False, VEO.operation, "SAFETY")]
    assert submits(stub, VEO) == 1
    assert (await row(database, job_id))["attempt"] == 1


async def test_an_intent_whose_worker_is_gone_is_found_too(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask_for(database, VEO)
    work = video_queue(database)
    job = await claim_one(work)
    call_id = await open_operation(database, job, VEO, work.gate)
    await LostOperations(database).search_for(call_id, 900)
    await expire_lease(database, VIDEO_QUEUE)
    lists(stub, entry("abc"))
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert sql.execute(CALLS).fetchall() == [("SETTLED", False, VEO.operation, "SAFETY")]
    assert submits(stub, VEO) == 0


async def test_the_search_is_repeated_spends_nothing_and_ends_as_a_dead_letter(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await lose_answer(database, stub, monkeypatch)
    routes = {"empty": Answer(body=b"{}"), "odd": Answer(body=b"[" * 9999), "away": Answer(500), "cut": CUT}
    for answer in routes.values():
        stub.answers[LIST_PATH] = answer
        done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
        assert ending(done) == ("RETRYING", "OPERATION_LOOKUP_PENDING")
        await expire_lease(database, VIDEO_QUEUE)
    assert (await row(database, job_id))["attempt"] == 1
    sql.execute("update superstoryboard.provider_calls set search_over = true")
    assert await video_queue(database).claim(1, 60) == []
    kept = await row(database, job_id)
    assert (kept["state"], kept["error"]["code"]) == ("DEAD_LETTERED", "NO_RESPONSE")
    assert sql.execute(CALLS).fetchall() == [("UNKNOWN", None, None, "NO_RESPONSE")]
    assert submits(stub, VEO) == 1


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_where_nothing_is_listed_the_search_ends_at_once_and_is_not_begun_again(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    await lose_answer(database, stub, monkeypatch)
    stub.answers[LIST_PATH] = Answer(status, encoded({"error": {"code": status, "message": "no"}}))
    routes = routes_with(stub.url, monkeypatch, GEMINI)
    await attempt(database, routes)
    assert routes.provider(VEO.name).lists is False
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    assert sql.execute(CALLS).fetchall() == [("UNKNOWN", None, None, "NO_RESPONSE")]


@pytest.mark.parametrize("route", [OMNI, VERTEX], ids=lambda route: route.name)
async def test_a_route_without_a_list_and_a_webhook_is_a_dead_letter_at_once(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    await ask_for(database, route)
    stub.answers[route.submit_path] = CUT
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("DEAD_LETTERED", "NO_RESPONSE")
    assert sql.execute(CALLS).fetchall() == [("UNKNOWN", None, None, "NO_RESPONSE")]


@pytest.mark.parametrize("route", [VEO, OMNI], ids=lambda route: route.name)
async def test_with_a_webhook_the_submit_carries_its_ledger_row_and_waits_for_twenty_minutes(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    monkeypatch.setenv("PROVIDER_WEBHOOK_URL", "https://hook.example/google")
    job_id = await ask_for(database, route)
    stub.answers[route.submit_path] = CUT
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert ending(done) == ("RETRYING", "OPERATION_LOOKUP_PENDING")
    call = sql.execute(
        "select id, search_until - created_at > '19 minutes' from superstoryboard.provider_calls"
    ).fetchone()
    assert call is not None
    mark = {"call": str(call[0]), "job": str(job_id)}
    assert call[1]
    body = json.loads(stub.asked[0].body)
    if route is OMNI:
        assert body["webhook_config"] == {"uris": ["https://hook.example/google"], "user_metadata": mark}
        return
    assert body["webhookConfig"] == {"uris": ["https://hook.example/google"], "userMetadata": mark}
    await expire_lease(database, VIDEO_QUEUE)
    lists(stub, entry("twin"), entry("abc", userMetadata=mark), entry("else", userMetadata=mark | {"job": "x"}))
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert sql.execute(CALLS).fetchall() == [("SETTLED", False, VEO.operation, "SAFETY")]


async def test_a_long_list_is_read_page_by_page(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_answer(database, stub, monkeypatch)
    stub.queued[LIST_PATH] = [
        Answer(body=encoded({"operations": [entry("other", prompt="a hare")], "nextPageToken": "two/2"})),
        Answer(body=encoded({"operations": [entry("abc")]})),
    ]
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert sql.execute(CALLS).fetchall() == [("SETTLED", False, VEO.operation, "SAFETY")]
    pages = [asked.target.partition("&")[2] for asked in stub.asked if asked.target.startswith(f"{LIST_PATH}?")]
    assert pages == ["", "pageToken=two%2F2"]


async def test_a_list_without_an_end_is_left(database: Database, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    await lose_answer(database, stub, monkeypatch)
    stub.answers[LIST_PATH] = Answer(body=encoded({"operations": [], "nextPageToken": "more"}))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert ending(done) == ("RETRYING", "OPERATION_LOOKUP_PENDING")
    assert len([asked for asked in stub.asked if asked.target.startswith(LIST_PATH)]) == 10
