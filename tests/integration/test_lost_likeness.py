"""Which listed operation is that of a call without an answer: the marked one, or one that can be no other's (I2)."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from services.video_worker.search import mark_of, match
from superstoryboard.db.database import Database
from superstoryboard.jobs.queue import LostCall
from superstoryboard.providers.routes import ListedOperation
from superstoryboard.v1.job_pb2 import VideoGeneration
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import encoded
from tests.integration.helpers import VIDEO_QUEUE, accept, expire_lease
from tests.integration.lost_steps import CALLS, CUT, LIST_PATH, VEO, ask_for, entry, lists, lose_answer, submits
from tests.integration.route_steps import GEMINI, attempt, routes_with


async def test_an_operation_of_another_call_is_never_taken(
    database: Database, sql: psycopg.Connection, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_answer(database, stub, monkeypatch)
    lists(stub, entry("abc"))
    stub.answers[VEO.poll_path] = Answer(body=encoded(VEO.refused))
    other = await accept(database, model="m")
    insert = (
        "insert into superstoryboard.provider_calls"
        " (job_id, claim, call_hash, route, shape, model, state, operation_name)"
        " values (%s, 1, %s, 'veo_gemini', 'OPERATION', 'm', %s, %s)"
    )
    sql.execute(insert, (other, "g", "SETTLED", VEO.operation))
    assert (await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))).state == "RETRYING"
    await expire_lease(database, VIDEO_QUEUE)
    sql.execute("delete from superstoryboard.provider_calls where job_id = %s", (other,))
    twin = "select call_hash from superstoryboard.provider_calls"
    (call_hash,) = sql.execute(twin).fetchone() or ("",)
    sql.execute(insert, (other, call_hash, "UNKNOWN", None))
    assert (await attempt(database, routes_with(stub.url, monkeypatch, GEMINI))).state == "RETRYING"
    assert sql.execute(CALLS).fetchall()[0] == ("INTENT", None, None, "NO_RESPONSE")
    assert VEO.poll_path not in {asked.target for asked in stub.asked}


@pytest.mark.parametrize(("minutes", "state"), [(-3, "FAILED"), (-1, "RETRYING"), (1, "RETRYING"), (3, "FAILED")])
async def test_a_likeness_proves_nothing_beside_an_open_call_of_the_same_minutes(
    database: Database, stub: Stub, monkeypatch: pytest.MonkeyPatch, minutes: int, state: str
) -> None:
    """The list shows no source picture: two calls may look the same although they ask for different things."""
    await lose_answer(database, stub, monkeypatch)
    other = await accept(database, model="m")
    await database.fetch(
        "insert into superstoryboard.provider_calls"
        " (job_id, claim, call_hash, route, shape, model, state, created_at)"
        " select %(job)s, 1, 'another', route, shape, model, 'UNKNOWN',"
        " created_at + make_interval(mins => %(minutes)s::int)"
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
