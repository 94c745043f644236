"""The command line as a program against the whole system: database, emulators and every service."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from devstack.stack.pipeline import ROOT, Stack, StackOptions
from devstack.stack.program import base_env
from tests.folders import server_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLI_SECONDS = 90.0
READY_SECONDS = 90.0


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


class Cli:
    """Runs commands as a caller of role service_role, where nothing else is said."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    async def start(self, *arguments: str, token: str | None = None) -> asyncio.subprocess.Process:
        env = base_env() | {
            "PYTHON": sys.executable,
            "INGEST_ADDRESS": self.stack.ingest_address,
            "IMAGE_WORKER_ADDRESS": self.stack.address("image_worker"),
            "VIDEO_WORKER_ADDRESS": self.stack.address("video_worker"),
            "STORYBOARD_TOKEN": self.stack.service_token if token is None else token,
        }
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*arguments, env=env, cwd=ROOT, stdout=pipe, stderr=pipe)

    async def __call__(self, *arguments: str, token: str | None = None) -> Result:
        return await ended(await self.start(sys.executable, "-m", "storyboard", *arguments, token=token))


async def ended(process: asyncio.subprocess.Process) -> Result:
    out, err = await asyncio.wait_for(process.communicate(), CLI_SECONDS)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cli() -> AsyncIterator[Cli]:
    with server_folder() as folder:
        async with Stack(StackOptions(state_dir=folder, rabbitmq=False)) as stack:
            yield Cli(stack)


@pytest.fixture
def sql(cli: Cli) -> Any:
    with psycopg.connect(cli.stack.database_url, autocommit=True) as connection:
        yield connection


async def script(cli: Cli, **entry: Any) -> None:
    async with httpx.AsyncClient(base_url=str(cli.stack.google_url)) as client:
        (await client.post("/_emulator/script", json=[entry])).raise_for_status()


async def test_an_image_is_made_linked_and_its_url_printed(cli: Cli, sql: psycopg.Connection) -> None:
    sql.execute("""insert into kv_store_7ee7668a values ('scene:board:scene-001', '{"title": "One"}')""")
    done = await cli("image", "A lighthouse", "--storyboard=board", "--scene=scene-001")
    assert done.code == 0, done.err
    state, url = done.out.splitlines()
    assert state.startswith("SUCCEEDED ")
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).content.startswith(b"\x89PNG")
    row = sql.execute("select value->>'imageUrl', value->>'title' from kv_store_7ee7668a").fetchone()
    assert row == (url, "One")
    assert "scene-001 SUCCEEDED 100%" in done.err


async def test_a_video_from_an_image_is_printed_as_json(cli: Cli) -> None:
    source = json.loads((await cli("image", "First frame", "--json")).out)["asset"]["url"]
    done = await cli("video", "It moves", "--scene=s1", "--source", source, "--duration=4", "--json")
    assert done.code == 0, done.err
    job = json.loads(done.out)
    assert (job["state"], job["video"]["durationSeconds"]) == ("JOB_STATE_SUCCEEDED", "4")
    assert job["asset"]["mediaType"] == "video/mp4"
    assert job["warnings"] == ["entity not found"]


async def logged(cli: Cli, job_id: str) -> dict[str, Any]:
    """The line with an action that the asset_writer writes about a job; its pipe may lag behind the job's end."""
    log = cli.stack.options.state_dir / "logs" / "asset_writer.log"
    following = await asyncio.create_subprocess_exec("tail", "-n", "+1", "-f", log, stdout=asyncio.subprocess.PIPE)
    assert following.stdout is not None
    try:
        async with asyncio.timeout(CLI_SECONDS):
            while True:
                line = (await following.stdout.readline()).decode()
                if job_id in line and '"action"' in line:
                    return dict(json.loads(line))
    finally:
        following.kill()
        await following.wait()


async def test_an_asset_without_an_entity_is_explained_and_logged(cli: Cli) -> None:
    done = await cli("image", "Nobody's scene", "--scene=of-no-row")
    assert done.code == 0, done.err
    state, _, warning = done.out.splitlines()
    assert warning.startswith("warning: entity not found (the asset is stored, but the key-value table has no row")
    entry = await logged(cli, state.split()[1])
    assert (entry["action"], entry["level"], entry["kv_table"]) == ("entity not found", "warning", "kv_store_7ee7668a")
    assert entry["event"].startswith("The asset is stored, but the key-value table has no row")


async def test_a_refusal_exits_1_and_says_why(cli: Cli) -> None:
    await script(cli, on="image", prompt_contains="forbidden", kind="blocked_prompt")
    done = await cli("image", "Something forbidden")
    assert done.code == 1
    state, reason = done.out.splitlines()[:2]
    assert state.startswith("FAILED ")
    assert reason.startswith("REFUSED/")


async def test_a_batch_runs_to_its_end(cli: Cli) -> None:
    done = await cli("batch-images", "examples/test-prompts.json", "--request-id=shipped")
    assert done.code == 0, done.err
    assert "4 of 4 items succeeded" in done.out
    again = await cli("batch-images", "examples/test-prompts.json", "--request-id=shipped", "--json")
    assert [element["job"]["id"] in done.out for element in json.loads(again.out)] == [True] * 4


async def test_process_works_on_a_paused_queue_and_prints_its_json(cli: Cli, sql: psycopg.Connection) -> None:
    sql.execute("update superstoryboard.queues set paused = true where name = 'image_generation_queue'")
    try:
        body = {"storyboardId": "board", "sceneId": "scene-001", "prompt": "A lighthouse"}
        send = "select pgmq.send('image_generation_queue', %s::jsonb)"
        first = sql.execute(send, (json.dumps(body),)).fetchone()
        second = sql.execute(send, (json.dumps({"storyboardId": "board", "characterId": "c"}),)).fetchone()
        assert first is not None
        assert second is not None
        answer = await ended(await cli.start("./process-queue.sh", "images", "--max", "5"))
        empty = await cli("process", "images", "--json")
    finally:
        sql.execute("update superstoryboard.queues set paused = false")
    form = json.loads(answer.out)
    assert (form["message"], form["processed"]) == ("Processed 2 messages", 2)
    good, bad = sorted(form["results"], key=lambda result: result["msg_id"])
    assert list(good) == ["success", "sceneId", "imageUrl", "msg_id"]
    assert (good["success"], good["sceneId"], good["msg_id"]) == (True, "scene-001", first[0])
    assert (bad["success"], bad["msg_id"]) == (False, second[0])
    assert "prompt must not be empty" in bad["error"]
    assert answer.code == 1
    assert (empty.code, empty.out) == (0, '{"message":"No messages in queue","processed":0}\n')


async def test_a_wait_survives_the_death_of_ingest(cli: Cli) -> None:
    await script(cli, on="image", prompt_contains="slow", hold=True)
    waiting = await cli.start(sys.executable, "-m", "storyboard", "image", "slow one", "--scene=s1")
    assert waiting.stderr is not None
    shown = b""
    while b"RUNNING" not in shown:
        shown = await asyncio.wait_for(waiting.stderr.readline(), CLI_SECONDS)
    ingest = cli.stack.process("ingest")
    await ingest.wait_restarted(ingest.kill())
    await ingest.wait_ready(READY_SECONDS)
    async with httpx.AsyncClient(base_url=str(cli.stack.google_url)) as client:
        (await client.post("/_emulator/release")).raise_for_status()
    done = await ended(waiting)
    assert done.code == 0, done.err
    assert "The connection was lost; resuming after event" in done.err
    assert done.out.startswith("SUCCEEDED ")


async def test_callers_see_their_own_jobs_only(cli: Cli) -> None:
    alice, bob = cli.stack.user_token("alice"), cli.stack.user_token("bob")
    job_id = (await cli("image", "Hers", "--detach", token=alice)).out.strip()
    assert (await cli("job", job_id, token=alice)).code == 0
    stranger = await cli("watch", job_id, token=bob)
    assert (stranger.code, "does not exist" in stranger.err) == (1, True)
    nobody = await cli("image", "x", token="")
    assert nobody.code == 1
    assert "Set STORYBOARD_TOKEN to a valid token." in nobody.err
    refused = await cli("process", "images", "--json", token=alice)
    assert (refused.code, "error" in json.loads(refused.out)) == (1, True)
