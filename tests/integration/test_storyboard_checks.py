"""What owners of storyboards mean for jobs that exist: the link, a new start, members, sources (decision 0044)."""

from __future__ import annotations

import json
from uuid import uuid4

import psycopg
from prometheus_client import CollectorRegistry

from superstoryboard.db.database import Database
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.steering import Refusal, Steering, Way
from superstoryboard.jobs.store import FrozenGeneration
from superstoryboard.jobs.storyboards import BoardRefusal, Storyboards
from superstoryboard.providers.google.gemini_images import GeminiImages
from tests.conformance.http_stub import Stub
from tests.integration.helpers import KV, claim_one, finish, image_queue, row, stage
from tests.integration.storyboard_steps import accepted, let_lapse, owner_of, put_kv, store_asset, submit
from tests.integration.workers import CATALOGUE, NOWHERE, image_worker


async def test_a_job_whose_owner_may_not_write_links_nothing(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accepted(database, "mallory")
    put_kv(sql, "storyboard:board", {"userId": "alice", "scenes": [{"id": "scene-1"}]})
    put_kv(sql, "scene:board:scene-1", {"imageUrl": "hers"})
    before = sql.execute(f"select * from {KV} order by key").fetchall()
    await store_asset(database)
    assert sql.execute(f"select * from {KV} order by key").fetchall() == before
    assert sql.execute("select * from superstoryboard.entity_links").fetchall() == []
    job = await row(database, job_id)
    assert (job["state"], job["warnings"], job["asset"]["path"][:6]) == ("SUCCEEDED", ["not yours"], "board/")
    assert owner_of(sql) == "alice"


async def test_one_scheduled_for_later_still_links_where_nobody_else_came(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accepted(database, "alice")
    put_kv(sql, "scene:board:scene-1", {})
    let_lapse(sql)
    await store_asset(database)
    assert (await row(database, job_id))["warnings"] == []
    assert owner_of(sql) == "alice"


async def test_jobs_of_others_are_started_again_by_editors_only(database: Database) -> None:
    job_id = await accepted(database, "alice")
    steering, boards = Steering(database), Storyboards(database)
    await steering.cancel(job_id, owner="alice", actor="alice")

    async def retry(who: str) -> Way | Refusal:
        return await steering.retry(job_id, owner=who, actor=who, names=[who])

    assert await retry("bob") is Refusal.NOT_FOUND
    assert await boards.share("board", ["alice"], "bob", "viewer") is None
    assert await retry("bob") is Refusal.NOT_YOURS
    assert await steering.cancel(job_id, owner="bob", actor="bob", names=["bob"]) == Refusal.NOT_YOURS
    assert await boards.share("board", ["alice"], "bob", "editor") is None
    assert await retry("bob") is Way.NEW_CALL
    assert await steering.cancel(job_id, owner="bob", actor="bob", names=["bob"]) == "QUEUED"


async def test_a_job_does_not_start_again_for_who_lost_the_storyboard(database: Database) -> None:
    job_id = await accepted(database, "alice")
    steering = Steering(database)
    await steering.cancel(job_id, owner="alice", actor="alice")
    assert await Storyboards(database).transfer("board", "bob") is None
    assert await steering.retry(job_id, owner="alice", actor="alice", names=["alice"]) is Refusal.NOT_YOURS
    assert await steering.retry(job_id, owner=None, actor="operator") is Refusal.NOT_YOURS


async def test_an_edit_brings_no_job_into_a_storyboard_of_another(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accepted(database, "mallory")
    put_kv(sql, "storyboard:hers", {"userId": "alice"})
    sql.execute("update superstoryboard.jobs set state = 'RUNNING'")
    sql.execute("update superstoryboard.jobs set state = 'DEAD_LETTERED', ended_at = now()")
    edit = FrozenGeneration({"storyboardId": "hers", "prompt": "p", "sceneId": "scene-1"}, "google", "m", [])
    refused = await Steering(database).redrive([job_id], actor="operator", edit=edit)
    assert refused is not None
    assert refused.reason is Refusal.NOT_YOURS
    assert (await row(database, job_id))["storyboard_id"] == "board"


async def test_members_go_with_the_owner_who_shared(database: Database, sql: psycopg.Connection) -> None:
    boards = Storyboards(database)
    await accepted(database, "mallory")
    assert await boards.share("board", ["mallory"], "friend", "editor") is None
    await accepted(database, "friend")
    put_kv(sql, "storyboard:board", {"userId": "alice"})
    assert await submit(database, "friend") == ("NOT_YOURS", None)
    assert await boards.share("board", ["mallory"], "friend", "editor") is BoardRefusal.NOT_FOUND
    sql.execute(f"delete from {KV}")
    assert await boards.transfer("board", "alice") is None
    assert await boards.transfer("board", "mallory") is None
    assert await submit(database, "friend") == ("NOT_YOURS", None)


async def test_sharing_has_an_end(database: Database) -> None:
    boards = Storyboards(database)
    await accepted(database, "alice")
    for number in range(100):
        assert await boards.share("board", ["alice"], f"member-{number}", "viewer") is None
    assert await boards.share("board", ["alice"], "member-0", "editor") is None, "no new member"
    assert await boards.share("board", ["alice"], "one more", "viewer") is BoardRefusal.MEMBER_LIMIT
    assert await boards.share("board", ["alice"], "member-7", None) is None
    assert await boards.share("board", ["alice"], "one more", "viewer") is None


async def test_a_kv_owner_is_not_transferred_over(database: Database, sql: psycopg.Connection) -> None:
    boards = Storyboards(database)
    put_kv(sql, "storyboard:board", {"userId": "alice"})
    assert await boards.transfer("board", "bob") is BoardRefusal.OWNER_IN_KV
    assert await boards.transfer("board", "alice") is None
    assert await boards.transfer("test-storyboard", "bob") is BoardRefusal.NO_OWNER
    assert await boards.share("nobodys", None, "bob", "viewer") is BoardRefusal.NO_OWNER


async def test_a_worker_asks_for_the_source_again(database: Database, sql: psycopg.Connection) -> None:
    put_kv(sql, "storyboard:hers", {"userId": "alice"})
    await accepted(database, "mallory")
    work = image_queue(database)
    job = await claim_one(work)
    assert not await work.may_use_source(job, "hers")
    assert not await work.may_use_source(job, "nobodys")
    assert not await work.may_use_source(job, "")
    assert await work.may_use_source(job, "board")
    assert await Storyboards(database).share("hers", ["alice"], "mallory", "viewer") is None
    assert await work.may_use_source(job, "hers")


async def test_a_worker_asks_before_it_fetches_or_pays(database: Database, sql: psycopg.Connection, stub: Stub) -> None:
    """As for a message by SQL, which ingest never saw, or a storyboard that changed hands while its job waited."""
    put_kv(sql, "storyboard:hers", {"userId": "alice"})
    url = f"{stub.url}/storage/v1/object/sign/storyboard-images/hers/s_1.png?token=x"
    body = {"storyboardId": "his", "prompt": "a fox", "sourceImageUrl": url, "editMode": True}
    sql.execute("select set_config('request.jwt.claims', %s, false)", ('{"sub": "bob", "role": "authenticated"}',))
    sql.execute("select public.pgmq_send('image_generation_queue', %s)", (json.dumps(body),))
    provider = GeminiImages(api_key="key", base_url=stub.url, api_version="v1beta", catalogue=CATALOGUE)
    async with image_worker(database, provider, NOWHERE, CollectorRegistry(), origins=[stub.url]) as worker:
        await worker.process(1, force=False)
        (job,) = await database.fetch("select id from superstoryboard.jobs")
        assert (await row(database, job["id"]))["error"]["code"] == "SOURCE_NOT_YOURS"
        assert stub.asked == []
        assert await Storyboards(database).share("hers", ["alice"], "bob", "viewer") is None
        await Steering(database).retry(job["id"], owner="bob", actor="bob", names=["bob"])
        await worker.process(1, force=False)
    assert (await row(database, job["id"]))["error"]["code"] == "SOURCE_NOT_FOUND"
    assert [asked.target.partition("?")[0] for asked in stub.asked] == [url.removeprefix(stub.url).partition("?")[0]]


async def test_a_finish_that_is_repeated_says_not_yours_once(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accepted(database, "mallory", request_id=str(uuid4()))
    put_kv(sql, "storyboard:board", {"userId": "alice"})
    artifact = await stage(database, await claim_one(image_queue(database)))
    assert await finish(database, artifact) == ("SUCCEEDED", True)
    assert await finish(database, artifact) == ("SUCCEEDED", False)
    assert (await row(database, job_id))["warnings"] == ["not yours"]
    assert (await Artifacts(database).claim(artifact_id=artifact, quantity=1, lease_seconds=1, min_age_seconds=0)) == []


async def test_a_job_that_is_not_started_claims_no_storyboard(database: Database, sql: psycopg.Connection) -> None:
    """A redrive of several would take it out of its order: two of them waited for each other."""
    job_id = await accepted(database, "alice")
    sql.execute("delete from superstoryboard.storyboards")
    steering = Steering(database)
    assert await steering.retry(job_id, owner="alice", actor="alice", names=["alice"]) is Refusal.JOB_STATE
    assert sql.execute("select id from superstoryboard.storyboards").fetchall() == []
