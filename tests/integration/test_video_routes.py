"""A video goes by its model's route, is polled by the route that it was ordered by, and waits where that has no key."""

from __future__ import annotations

import tempfile
import time

import psycopg
import pytest

from services.video_worker.polling import GONE_ANSWERS
from superstoryboard.db.database import Database
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import ROUTES, VideoRoute, encoded
from tests.integration.helpers import accept, row
from tests.integration.route_steps import (
    CALLS,
    EXPRESS,
    GEMINI,
    GONE,
    OMNI,
    VERTEX,
    ask_for,
    attempt,
    ending,
    ordered,
    routes_with,
)
from tests.integration.workers import CATALOGUE, GONE_SECONDS


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_video_goes_by_the_route_of_its_model_and_the_ledger_says_so(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    await ask_for(database, route)
    stub.answers[route.submit_path] = Answer(body=encoded(route.accepted))
    stub.answers[route.poll_path] = Answer(body=encoded(route.invalid))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("FAILED", "PROVIDER_INVALID_ARGUMENT")
    assert sql.execute(CALLS).fetchall() == [(route.name, "SETTLED", False, route.operation)]
    assert [asked.target.partition("?")[0] for asked in stub.asked] == [route.submit_path, route.poll_path]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_resumed_operation_is_polled_by_its_own_route_and_pays_nothing(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    job_id = await ordered(database, route)
    stub.answers[route.poll_path] = Answer(body=encoded(route.refused))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert done.job.id == job_id
    assert ending(done) == ("FAILED", "SAFETY")
    assert {asked.target.partition("?")[0] for asked in stub.asked} == {route.poll_path}
    assert sql.execute(CALLS).fetchall() == [(route.name, "SETTLED", False, route.operation)]


@pytest.mark.parametrize("route", [OMNI, VERTEX], ids=lambda route: route.name)
async def test_a_route_without_credentials_is_said_before_anything_is_written_or_sent(
    database: Database,
    sql: psycopg.Connection,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    route: VideoRoute,
) -> None:
    job_id = await ask_for(database, route)
    present, missing = (GEMINI, EXPRESS) if route is VERTEX else (EXPRESS, GEMINI)
    routes = routes_with(stub.url, monkeypatch, present)
    assert f"videos by route {route.name} need the setting {missing}" in (routes.problem(route.model) or "")
    done = await attempt(database, routes)
    kept = await row(database, job_id)
    assert (kept["state"], kept["attempt"], done.state) == ("RETRYING", 0, "RETRYING")
    assert (kept["error"]["class"], kept["error"]["code"]) == ("CONFIG", "PROVIDER_NOT_CONFIGURED")
    assert missing in kept["error"]["message"]
    assert sql.execute(CALLS).fetchall() == []
    assert stub.asked == []
    reason = "select reason from superstoryboard.gates where model = %s and closed_until > clock_timestamp()"
    assert sql.execute(reason, (route.model,)).fetchall() == [("PROVIDER_NOT_CONFIGURED",)]


async def test_a_paid_operation_outlives_the_credentials_of_its_route(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await ordered(database, VERTEX)
    await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert (await row(database, job_id))["state"] == "RETRYING"
    assert sql.execute(CALLS).fetchall() == [("veo_vertex", "ACCEPTED", None, VERTEX.operation)]
    assert stub.asked == []


async def test_a_model_that_left_the_catalogue_waits_for_it(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await accept(database, kind="video", model="left", generation={"model": "left"})
    await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    kept = await row(database, job_id)
    assert (kept["state"], kept["error"]["code"]) == ("RETRYING", "MODEL_NOT_IN_CATALOGUE")
    assert sql.execute(CALLS).fetchall() == []


def test_the_default_route_is_usable_with_a_key_of_the_gemini_api(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = routes_with("http://127.0.0.1:9", monkeypatch, GEMINI)
    assert routes.problem(CATALOGUE.default_name("video")) is None


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_an_operation_that_stays_gone_is_a_dead_letter(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    await ordered(database, route)
    stub.answers[route.poll_path] = GONE
    started = time.monotonic()
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert time.monotonic() - started >= GONE_SECONDS
    assert len(stub.asked) >= GONE_ANSWERS
    assert ending(done) == ("DEAD_LETTERED", "OPERATION_GONE")
    assert sql.execute(CALLS).fetchall() == [(route.name, "SETTLED", True, route.operation)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_fault_after_one_word_of_a_loss_does_not_confirm_it(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    """The video stays paid for and is fetched again; settled, it could only be paid for a second time."""
    await ordered(database, route)
    route.holds(stub, b"film")
    here = stub.answers[route.download_path]
    said = [GONE, Answer(500)]
    stub.queued[route.download_path] = [here, *said] if route.download_path == route.poll_path else said
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("RETRYING", "PROVIDER_UNAVAILABLE")
    assert sql.execute(CALLS).fetchall() == [(route.name, "ACCEPTED", None, route.operation)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_worker_that_can_write_no_file_spends_nothing_and_keeps_the_operation(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    job_id = await ordered(database, route)
    route.holds(stub, b"film")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("RETRYING", "WORKER_SYSTEM_ERROR")
    assert (await row(database, job_id))["error"]["class"] == "UNAVAILABLE_DEPENDENCY"
    assert sql.execute(CALLS).fetchall() == [(route.name, "ACCEPTED", None, route.operation)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_result_of_another_shape_is_a_dead_letter_and_kept_in_the_ledger(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    job_id = await ordered(database, route)
    odd = route.done | ({"status": "expired"} if route is OMNI else {"response": {"films": [1]}})
    stub.answers[route.poll_path] = Answer(body=encoded(odd))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("DEAD_LETTERED", "UNREADABLE_RESULT")
    (kept,) = sql.execute("select error ->> 'raw_answer' from superstoryboard.provider_calls").fetchone() or ("",)
    assert ("expired" if route is OMNI else "films") in kept
    assert "raw_answer" not in (await row(database, job_id))["error"]


async def test_progress_is_written_when_it_moves_and_not_at_each_poll(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ordered(database, VERTEX)
    stub.queued[VERTEX.poll_path] = [Answer(body=encoded(VERTEX.running))] * 20
    stub.answers[VERTEX.poll_path] = Answer(body=encoded(VERTEX.refused))
    await attempt(database, routes_with(stub.url, monkeypatch, EXPRESS))
    assert len(stub.asked) == 21
    told = sql.execute("select count(*) from superstoryboard.job_events where message like 'Generating%'").fetchone()
    assert told == (1,)
