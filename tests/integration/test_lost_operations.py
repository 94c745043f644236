"""A submit whose answer was lost: searching for its operation, and never sent a second time (I2)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from services.video_worker.search import mark_of, match
from superstoryboard.db.database import Database
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.lost_operations import LostOperations
from superstoryboard.jobs.queue import LostCall
from superstoryboard.providers.video import ListedOperation
from superstoryboard.v1.job_pb2 import VideoGeneration
from tests.conformance.http_stub import Answer, Stub, serve
from tests.conformance.video_routes import ROUTES, VideoRoute, encoded
from tests.integration.helpers import VIDEO_QUEUE, accept, claim_one, expire_lease, row, video_queue
from tests.integration.test_video_routes import EXPRESS, GEMINI, attempt, routes_with

VEO, VERTEX, OMNI = ROUTES
LIST_PATH = f"/v1beta/models/{VEO.model}/operations"
CUT = Answer(cut=True)
ASKED = {"aspectRatio": "16:9", "durationSeconds": "8", "resolution": "720p", "prompt": "a fox"}
CALLS = "select state, paid, operation_name, error ->> 'code' from superstoryboard.provider_calls order by id"


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serve() as running:
        yield running


async def ask_for(database: Database, route: VideoRoute, **changes: str) -> UUID:
    return await accept(database, kind="video", model=route.model, generation=ASKED | {"model": route.model} | changes)


def entry(name: str, *, created: datetime | None = None, **metadata: Any) -> dict[str, Any]:
    """An operation as the provider lists it."""
    shown = {
        "createTime": (created or datetime.now(UTC)).isoformat(),
        "prompt": "a fox",
        "parameters": {"aspectRatio": "16:9", "durationSeconds": 8, "resolution": "720p"},
    }
    return {"name": f"models/{VEO.model}/operations/{name}", "metadata": shown | metadata}


def lists(stub: Stub, *entries: dict[str, Any]) -> None:
    stub.answers[LIST_PATH] = Answer(body=encoded({"operations": list(entries)}))


def submits(stub: Stub, route: VideoRoute) -> int:
    return len([asked for asked in stub.asked if asked.target == route.submit_path])


async def lose_answer(database: Database, stub: Stub, patch: pytest.MonkeyPatch) -> UUID:
    """A job whose submit was sent and whose answer never came."""
    job_id = await ask_for(database, VEO)
    stub.answers[VEO.submit_path] = CUT
    done = await attempt(database, routes_with(stub.url, patch, GEMINI))
    assert (done.state, done.error.code if done.error else "") == ("RETRYING", "OPERATION_LOOKUP_PENDING")
    await expire_lease(database, VIDEO_QUEUE)
    return job_id


async def test_a_submit_without_an_answer_is_found_in_the_providers_list(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await lose_answer(database, stub, monkeypatch)
    assert sql.execute(CALLS).fetchall() == [("INTENT", None, None, "NO_RESPONSE")]
    old = entry("old", created=datetime.now(UTC) - timedelta(minutes=2))
    lists(stub, entry("other", prompt="a hare"), entry("abc"), old, entry("odd") | {"name": "odd"}, {})
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert (done.job.id, done.state, done.error.code if done.error else "") == (job_id, "FAILED", "SAFETY")
    assert sql.execute(CALLS).fetchall() == [("SETTLED", False, VEO.operation, "SAFETY")]
    assert submits(stub, VEO) == 1
    assert (await row(database, job_id))["attempt"] == 1


async def test_an_intent_whose_worker_is_gone_is_found_too(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask_for(database, VEO)
    work = video_queue(database)
    job = await claim_one(work)
    opened = await Ledger(database).open(
        job, route=VEO.name, model=VEO.model, gate=work.gate, fingerprint="f", lease_seconds=1
    )
    assert opened.call_id is not None
    await LostOperations(database).search_for(opened.call_id, 900)
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
        assert (done.state, done.error.code if done.error else "") == ("RETRYING", "OPERATION_LOOKUP_PENDING")
        await expire_lease(database, VIDEO_QUEUE)
    assert (await row(database, job_id))["attempt"] == 1
    sql.execute("update superstoryboard.provider_calls set search_until = now()")
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
    assert (done.state, done.error.code if done.error else "") == ("DEAD_LETTERED", "NO_RESPONSE")
    assert sql.execute(CALLS).fetchall() == [("UNKNOWN", None, None, "NO_RESPONSE")]


@pytest.mark.parametrize("route", [VEO, OMNI], ids=lambda route: route.name)
async def test_with_a_webhook_the_submit_carries_its_ledger_row_and_waits_for_twenty_minutes(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch, route: VideoRoute
) -> None:
    monkeypatch.setenv("PROVIDER_WEBHOOK_URL", "https://hook.example/google")
    job_id = await ask_for(database, route)
    stub.answers[route.submit_path] = CUT
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert (done.state, done.error.code if done.error else "") == ("RETRYING", "OPERATION_LOOKUP_PENDING")
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


async def test_an_operation_of_another_call_is_never_taken(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_answer(database, stub, monkeypatch)
    lists(stub, entry("abc"))
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    other = await accept(database, model="m")
    taken = (
        "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, model, state, operation_name)"
        " values (%s, 1, %s, 'veo_gemini', 'm', %s, %s)"
    )
    sql.execute(taken, (other, "g", "SETTLED", VEO.operation))
    assert (await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))).state == "RETRYING"
    await expire_lease(database, VIDEO_QUEUE)
    sql.execute("delete from superstoryboard.provider_calls where job_id = %s", (other,))
    twin = "select call_hash from superstoryboard.provider_calls"
    (call_hash,) = sql.execute(twin).fetchone() or ("",)
    sql.execute(taken, (other, call_hash, "UNKNOWN", None))
    assert (await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))).state == "RETRYING"
    assert sql.execute(CALLS).fetchall()[0] == ("INTENT", None, None, "NO_RESPONSE")
    assert VEO.poll_path not in {asked.target for asked in stub.asked}


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
    assert (done.state, done.error.code if done.error else "") == ("RETRYING", "OPERATION_LOOKUP_PENDING")
    assert len([asked for asked in stub.asked if asked.target.startswith(LIST_PATH)]) == 10


@pytest.mark.parametrize(("minutes", "state"), [(-3, "FAILED"), (-1, "RETRYING"), (1, "RETRYING"), (3, "FAILED")])
async def test_a_likeness_proves_nothing_beside_an_open_call_of_the_same_minutes(
    database: Database, stub: Stub, monkeypatch: pytest.MonkeyPatch, minutes: int, state: str
) -> None:
    """The list shows no source picture: two calls may look the same although they ask for different things."""
    await lose_answer(database, stub, monkeypatch)
    other = await accept(database, model="m")
    await database.fetch(
        "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, model, state, created_at)"
        " select %(job)s, 1, 'another', route, model, 'UNKNOWN', created_at + make_interval(mins => %(minutes)s::int)"
        " from superstoryboard.provider_calls",
        {"job": other, "minutes": minutes},
    )
    lists(stub, entry("abc"))
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    done = await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert done.state == state, "polled, and refused, where it was taken"


async def lose_two_answers(
    database: Database, stub: Stub, patch: pytest.MonkeyPatch, **changes: str
) -> tuple[UUID, UUID]:
    """Two jobs whose submits were sent in the same second and never answered; the second asks for something else."""
    jobs = await ask_for(database, VEO), await ask_for(database, VEO, **changes)
    stub.answers[VEO.submit_path] = CUT
    for job_id in jobs:
        assert (await attempt(database, routes_with(stub.url, patch, GEMINI))).job.id == job_id
    await expire_lease(database, VIDEO_QUEUE)
    return jobs


async def names(database: Database) -> list[str | None]:
    """The operations that the calls have, in their order."""
    rows = await database.fetch("select operation_name as name from superstoryboard.provider_calls order by id")
    return [row["name"] for row in rows]


LIKE_ASKED = {"aspectRatio": "16:9", "durationSeconds": 8, "resolution": "720p"}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"prompt": "a hare"}, {"prompt": "a hare"}),
        ({"aspectRatio": "9:16"}, {"parameters": LIKE_ASKED | {"aspectRatio": "9:16"}}),
        ({"durationSeconds": "6"}, {"parameters": LIKE_ASKED | {"durationSeconds": 6}}),
        ({"resolution": "1080p"}, {"parameters": LIKE_ASKED | {"resolution": "1080p"}}),
    ],
    ids=["prompt", "aspect ratio", "duration", "resolution"],
)
async def test_two_submits_that_were_lost_at_once_and_asked_for_different_things_are_both_found(
    database: Database, stub: Stub, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], shown: dict[str, Any]
) -> None:
    await lose_two_answers(database, stub, monkeypatch, **changes)
    lists(stub, entry("def", **shown), entry("abc"))
    for name in ("abc", "def"):
        stub.answers[f"{LIST_PATH}/{name}"] = Answer(body=encoded(VEO.refused))
        await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))
    assert await names(database) == [f"models/{VEO.model}/operations/{name}" for name in ("abc", "def")]
    assert submits(stub, VEO) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"sourceImageUrl": "https://images.example/fox.png"},
        {"prompt": "a fox and what a cut list would not show"},
        {"storyboardId": "another"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_submits_that_a_list_could_show_alike_are_not_told_apart(
    database: Database,
    sql: psycopg.Connection,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
) -> None:
    _, second = await lose_two_answers(database, stub, monkeypatch, sceneId="scene-2")
    asked = "update superstoryboard.jobs set generation = generation || %s where id = %s"
    sql.execute(asked, (Jsonb(changes), second))
    lists(stub, entry("abc"))
    for _ in range(2):
        assert (await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))).state == "RETRYING"
    assert await names(database) == [None, None]


async def test_what_a_let_go_call_asked_for_is_not_read_from_its_job_which_may_be_edited(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_two_answers(database, stub, monkeypatch, prompt="a hare")
    sql.execute(
        "update superstoryboard.provider_calls set state = 'UNKNOWN', waived_by = 'operator', search_until = null"
        " where id = (select max(id) from superstoryboard.provider_calls)"
    )
    lists(stub, entry("abc"))
    assert (await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))).state == "RETRYING"
    assert await names(database) == [None, None]


NOW = datetime.now(UTC)
LOST = LostCall(7, "veo_gemini", VEO.model, NOW, 1.0, 100.0)
JOB = uuid4()
GENERATION = VideoGeneration(prompt="a fox", aspect_ratio="16:9", duration_seconds="8", resolution="720p")
ALIKE = ListedOperation(
    name="a", created_at=NOW, prompt="a fox", aspect_ratio="16:9", duration_seconds=8, resolution="720p"
)


@pytest.mark.parametrize(
    ("listed", "alone", "name"),
    [
        ([ALIKE], True, "a"),
        ([ALIKE], False, None),
        ([ALIKE, dataclasses.replace(ALIKE, name="b")], True, None),
        ([dataclasses.replace(ALIKE, created_at=NOW - timedelta(seconds=59))], True, "a"),
        ([dataclasses.replace(ALIKE, created_at=NOW - timedelta(seconds=61))], True, None),
        ([dataclasses.replace(ALIKE, created_at=NOW + timedelta(seconds=61))], True, None),
        ([dataclasses.replace(ALIKE, created_at=None)], True, None),
        ([dataclasses.replace(ALIKE, prompt="a hare")], True, None),
        ([dataclasses.replace(ALIKE, prompt=None)], True, None),
        ([dataclasses.replace(ALIKE, duration_seconds=6)], True, None),
        ([dataclasses.replace(ALIKE, resolution=None)], True, None),
        ([dataclasses.replace(ALIKE, mark={"call": "8", "job": str(JOB)})], True, None),
        ([dataclasses.replace(ALIKE, mark=mark_of(JOB, 7)), dataclasses.replace(ALIKE, name="b")], False, "a"),
        ([ListedOperation(name="x", mark=mark_of(JOB, 7))], False, "x"),
        ([dataclasses.replace(ALIKE, name=name, mark=mark_of(JOB, 7)) for name in "ab"], True, None),
        ([], True, None),
    ],
)
def test_a_match_is_the_marked_one_or_the_only_one_that_is_like_it(
    listed: list[ListedOperation], alone: bool, name: str | None
) -> None:
    assert match(listed, mark_of(JOB, 7), LOST, GENERATION, alone=alone) == name
