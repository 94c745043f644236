"""Linking of assets in kv_store, in every form and interleaving (SPEC A7, A8; I3, I6)."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.store import JobStore
from tests.integration.helpers import KV, claim_one, finish, image_queue, row, stage, submission, video_queue
from tests.waiting import awaited

URL = "http://storage/asset.png"
BLOCKED = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"


def put(sql: psycopg.Connection, key: str, value: Any) -> None:
    sql.execute(f"insert into {KV} values (%s, %s)", (key, json.dumps(value)))


def get(sql: psycopg.Connection, key: str) -> Any:
    record = sql.execute(f"select value from {KV} where key = %s", (key,)).fetchone()
    assert record is not None
    return record[0]


async def staged(database: Database, kind: str = "image", **generation: str) -> tuple[UUID, UUID]:
    accepted = await JobStore(database).accept([submission(kind=kind, generation=generation)])
    queue = image_queue(database) if kind == "image" else video_queue(database)
    return accepted[0].job_id, await stage(database, await claim_one(queue))


async def finished(database: Database, kind: str = "image", **generation: str) -> dict[str, Any]:
    job_id, artifact = await staged(database, kind, **generation)
    assert await finish(database, artifact, URL) == ("SUCCEEDED", True)
    return await row(database, job_id)


async def test_a_trigger_of_the_table_finds_what_is_in_public(database: Database, sql: psycopg.Connection) -> None:
    put(sql, "scene:board:scene-1", {"id": "scene-1"})
    sql.execute("create table public.changes (key text)")
    sql.execute(
        "create function public.note_change() returns trigger language plpgsql as"
        " $$ begin insert into changes values (new.key); return new; end $$"
    )
    sql.execute(f"create trigger note before update on {KV} for each row execute function public.note_change()")
    assert (await finished(database))["warnings"] == []
    assert sql.execute("select key from changes").fetchall() == [("scene:board:scene-1",)]


async def test_scene_row_and_storyboard_item_both_get_the_link(database: Database, sql: psycopg.Connection) -> None:
    put(sql, "scene:board:scene-1", {"id": "scene-1", "title": "kept"})
    put(sql, "scene:scene-1", {"id": "scene-1"})
    put(sql, "storyboard:board", {"id": "board", "scenes": [{"id": "scene-0"}, {"id": "scene-1"}], "name": "kept"})
    assert (await finished(database))["warnings"] == []
    scene = get(sql, "scene:board:scene-1")
    assert (scene["imageUrl"], scene["title"]) == (URL, "kept")
    assert scene["imageGeneratedAt"] == scene["updatedAt"]
    assert len(scene["updatedAt"]) == len("2026-11-21T04:16:00.123Z")
    assert scene["updatedAt"].endswith("Z")
    board = get(sql, "storyboard:board")
    assert "imageUrl" not in board["scenes"][0]
    assert (board["scenes"][1]["imageUrl"], board["name"], board["updatedAt"]) == (URL, "kept", scene["updatedAt"])
    assert get(sql, "scene:scene-1") == {"id": "scene-1"}, "the older key only where the newer row is missing"


async def test_a_video_of_a_character_is_linked_by_its_own_keys(database: Database, sql: psycopg.Connection) -> None:
    put(sql, "character:board:hero", {"id": "hero"})
    put(sql, "storyboard:board", {"characters": [{"id": "hero"}]})
    await finished(database, "video", sceneId="", characterId="hero")
    for entity in (get(sql, "character:board:hero"), get(sql, "storyboard:board")["characters"][0]):
        assert entity["videoUrl"] == URL
        assert entity["videoGeneratedAt"] == entity["updatedAt"]
        assert "imageUrl" not in entity


@pytest.mark.parametrize(
    ("older", "linked"),
    [({}, True), ({"storyboardId": "board"}, True), ({"storyboardId": None}, True), ({"storyboardId": "x"}, False)],
)
async def test_the_older_key_counts_only_for_its_own_storyboard(
    database: Database, sql: psycopg.Connection, older: dict[str, Any], linked: bool
) -> None:
    put(sql, "scene:scene-1", older)
    done = await finished(database)
    assert ("imageUrl" in get(sql, "scene:scene-1")) is linked
    assert done["warnings"] == ([] if linked else ["entity not found"])


async def test_an_item_is_found_by_its_id_as_text(database: Database, sql: psycopg.Connection) -> None:
    put(sql, "storyboard:board", {"scenes": ["odd", None, {"id": 7}, {"id": "7x"}]})
    assert (await finished(database, sceneId="7"))["warnings"] == []
    scenes = get(sql, "storyboard:board")["scenes"]
    assert scenes[2]["imageUrl"] == URL
    assert scenes[3] == {"id": "7x"}


async def test_both_ids_link_both_entities(database: Database, sql: psycopg.Connection) -> None:
    put(sql, "scene:board:scene-1", {})
    put(sql, "character:board:hero", {})
    await finished(database, characterId="hero")
    assert get(sql, "scene:board:scene-1")["imageUrl"] == get(sql, "character:board:hero")["imageUrl"] == URL


@pytest.mark.parametrize("value", [None, "text", [1], {"scenes": "none"}, {"scenes": {"id": "scene-1"}}])
async def test_rows_that_are_no_entities_are_left_alone(
    database: Database, sql: psycopg.Connection, value: Any
) -> None:
    put(sql, "storyboard:board", value)
    put(sql, "scene:scene-1", [])
    assert (await finished(database))["warnings"] == ["entity not found"]
    assert get(sql, "storyboard:board") == value


async def test_no_entity_asked_for_means_no_warning(database: Database) -> None:
    assert (await finished(database, sceneId=""))["warnings"] == []


async def test_fifty_scenes_of_one_storyboard_finishing_at_once_lose_no_link(
    database: Database, sql: psycopg.Connection
) -> None:
    names = [f"scene-{number}" for number in range(50)]
    put(sql, "storyboard:board", {"scenes": [{"id": name} for name in names]})
    artifacts = [(await staged(database, sceneId=name))[1] for name in names]
    await asyncio.gather(*(finish(database, artifact, f"{URL}#{n}") for n, artifact in enumerate(artifacts)))
    scenes = get(sql, "storyboard:board")["scenes"]
    assert [scene["imageUrl"] for scene in scenes] == [f"{URL}#{number}" for number in range(50)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_an_older_job_never_overwrites_a_newer_result(
    database: Database, sql: psycopg.Connection, order: tuple[int, ...]
) -> None:
    put(sql, "scene:board:scene-1", {})
    jobs = [await staged(database) for _ in range(3)]
    for place in order:
        await finish(database, jobs[place][1], f"{URL}#{place}")
    assert get(sql, "scene:board:scene-1")["imageUrl"] == f"{URL}#2"
    numbers: list[int] = []
    for place in order:
        superseded = any(earlier > place for earlier in numbers)
        assert (await row(database, jobs[place][0]))["warnings"] == (["superseded"] if superseded else [])
        numbers.append(place)


async def test_an_older_job_that_waits_for_the_newer_ones_lock_still_loses(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    put(sql, "scene:board:scene-1", {})
    (old_id, old), (_, new) = await staged(database), await staged(database)
    async with await psycopg.AsyncConnection.connect(database_url) as newer:
        await newer.execute(f"select superstoryboard.finish_job_v1(%s, '{KV}', 'archive', 'new', null)", (new,))
        waiting = asyncio.create_task(finish(database, old, "old"))
        await awaited(lambda: database.fetch(BLOCKED), beside=waiting)
        await newer.commit()
        assert await waiting == ("SUCCEEDED", True)
    assert get(sql, "scene:board:scene-1")["imageUrl"] == "new"
    assert (await row(database, old_id))["warnings"] == ["superseded"]


async def test_newer_and_older_finishing_at_once_always_leave_the_newer(
    database: Database, sql: psycopg.Connection
) -> None:
    put(sql, "scene:board:scene-1", {})
    for _ in range(15):
        jobs = [await staged(database) for _ in range(4)]
        await asyncio.gather(*(finish(database, artifact, str(artifact)) for _, artifact in reversed(jobs)))
        assert get(sql, "scene:board:scene-1")["imageUrl"] == str(jobs[-1][1])
