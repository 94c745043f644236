"""That something paid for is lost is believed only where nothing better is said in between (G1)."""

from __future__ import annotations

import psycopg
import pytest

from superstoryboard.db.database import Database
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import ROUTES, VideoRoute, encoded
from tests.integration.route_steps import CALLS, EXPRESS, GEMINI, GONE, attempt, ending, ordered, routes_with

TURNS = 40
"""Polls take about 0.01 s each: together they last for several times as long as a loss must be said."""


LITTLE = [(2, 0.0), (20, 600.0)]
"""Words of a loss, and seconds over which it must be said: too few, and not for long enough."""


@pytest.fixture(params=LITTLE, ids=["too few", "too fast"])
def words(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a loss is said, too little to be believed."""
    count, seconds = request.param
    monkeypatch.setattr("tests.integration.workers.GONE_SECONDS", seconds)
    return int(count)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_an_operation_is_not_gone_by_a_few_words_or_many_in_a_moment(
    database: Database,
    sql: psycopg.Connection,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    route: VideoRoute,
    *,
    words: int,
) -> None:
    await ordered(database, route)
    stub.queued[route.poll_path] = [GONE] * words
    stub.answers[route.poll_path] = Answer(body=encoded(route.refused))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("FAILED", "SAFETY")
    assert sql.execute(CALLS).fetchall() == [(route.name, "SETTLED", False, route.operation)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_video_is_not_gone_by_a_few_words_or_many_in_a_moment(
    database: Database,
    sql: psycopg.Connection,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    route: VideoRoute,
    *,
    words: int,
) -> None:
    await ordered(database, route)
    route.holds(stub, b"no film")
    here = stub.answers[route.download_path]
    stub.queued[route.download_path] = [here] * (route.download_path == route.poll_path) + [GONE] * words
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("RETRYING", "NOT_A_VIDEO")
    assert sql.execute(CALLS).fetchall() == [(route.name, "ACCEPTED", None, route.operation)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_video_that_is_gone_for_sure_is_told_to_the_ledger_and_not_ordered_again(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    await ordered(database, route)
    route.holds(stub, b"no film")
    if route.download_path == route.poll_path:
        stub.queued[route.poll_path] = [stub.answers[route.poll_path]]
    stub.answers[route.download_path] = GONE
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("DEAD_LETTERED", "VIDEO_GONE")
    assert sql.execute(CALLS).fetchall() == [(route.name, "SETTLED", True, route.operation)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_better_word_in_between_ends_a_doubt(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    await ordered(database, route)
    stub.queued[route.poll_path] = [GONE, Answer(body=encoded(route.running))] * TURNS
    stub.answers[route.poll_path] = Answer(body=encoded(route.refused))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("FAILED", "SAFETY")
    assert sql.execute(CALLS).fetchall() == [(route.name, "SETTLED", False, route.operation)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_an_operation_that_takes_too_long_is_asked_until_its_loss_is_certain(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    """Put off at each first word of a loss, it would never be said often enough."""
    await ordered(database, route)
    sql.execute("update superstoryboard.provider_calls set accepted_at = now() - interval '1 hour'")
    stub.answers[route.poll_path] = GONE
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI, EXPRESS))
    assert ending(done) == ("DEAD_LETTERED", "OPERATION_GONE")
