"""The demo runs as a newcomer runs it, and its checks find what is wrong."""

import asyncio
import base64
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devstack.demo.__main__ import STORYBOARD
from devstack.demo.check import FetchedAsset, fetch_all, read_links, unexpected
from devstack.demo.gallery import Card, Page, render
from devstack.demo.plan import Plan, StoryDatabase
from devstack.demo.run import Outcome, StoryRun
from devstack.stack.program import base_env
from devstack.stack.rabbitmq import locate
from superstoryboard.media import sniff
from superstoryboard.media.images import probe_image
from superstoryboard.v1.job_pb2 import Asset, Job, JobState
from tests.conformance.http_stub import Answer, Stub
from tests.unit.pictures import png

DEMO_SECONDS = 100.0
KV_TABLE = "kv_store_7ee7668a"
PNG = png(3, 2, (b"\0" + bytes(12)) * 2)
SUCCEEDED = JobState.JOB_STATE_SUCCEEDED


@dataclass(frozen=True)
class Elsewhere:
    """Systems that a shell and a file .env name, which are none of the demo's business."""

    folder: Path
    environment: dict[str, str]
    callers: list[object]
    """Whoever connected to what listens there."""
    database_url: str

    def rows(self) -> list[tuple[object, ...]]:
        """Whatever a stack would change in the database."""
        with psycopg.connect(self.database_url) as connection:
            jobs = connection.execute("select state, attempt, claim, worker from superstoryboard.jobs").fetchall()
            waiting = connection.execute("select msg_id, read_ct, vt from pgmq.q_image_generation_queue").fetchall()
            return jobs + waiting + connection.execute(f"select key, value from {KV_TABLE}").fetchall()


@pytest.fixture
async def elsewhere(database_url: str, servers: Path) -> AsyncIterator[Elsewhere]:
    """A database in which a customer's job waits, and one listener for everything else."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        body = '{"storyboardId": "customer", "sceneId": "1", "prompt": "p"}'
        connection.execute("select public.pgmq_send('image_generation_queue', %s::jsonb)", (body,))
        connection.execute(f"insert into {KV_TABLE} values ('scene:customer:1', '{{}}')")
    callers: list[object] = []

    def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername"))
        writer.close()

    async with await asyncio.start_server(called, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        (servers / ".env").write_text(f"GOOGLE_GEMINI_BASE_URL=http://{address}\nEVENTS_AMQP_URL=amqp://{address}/\n")
        environment = {
            "DATABASE_URL": database_url,
            "DATABASE_LISTEN_URL": database_url,
            "AMQP_URL": f"amqp://{address}/",
            "KV_TABLE": "another_kv",
            "SUPABASE_URL": f"http://{address}",
            "SUPABASE_SECRET_KEY": "a-customers-key",
            "GOOGLE_GENERATIVE_AI_API_KEY": "a-customers-key",
            "GOOGLE_VERTEX_BASE_URL": f"http://{address}",
            "INGEST_ADDRESS": address,
            "STORYBOARD_TOKEN": "a-customers-token",
            "PGHOSTADDR": "127.0.0.2",
            "PGOPTIONS": "-c default_transaction_read_only=on",
            "PGSSLMODE": "verify-full",
        }
        yield Elsewhere(servers, environment, callers, database_url)


async def run_demo(elsewhere: Elsewhere, *arguments: str, without: tuple[str, ...] = ()) -> tuple[int | None, str]:
    env = {name: value for name, value in base_env().items() if name != "ENV_FILE"} | elsewhere.environment
    demo = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "superstoryboard.devstack.demo",
        *arguments,
        cwd=elsewhere.folder,
        env={name: value for name, value in env.items() if name not in without},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(demo.communicate(), DEMO_SECONDS)
    return demo.returncode, out.decode()


async def test_a_real_database_beside_an_emulator_is_refused_by_name(elsewhere: Elsewhere) -> None:
    before = elsewhere.rows()
    code, text = await run_demo(elsewhere, "--with-env", without=("SUPABASE_URL", "GOOGLE_GENERATIVE_AI_API_KEY"))
    assert code == 1
    assert "DATABASE_URL names an outside database, but Google and Storage would be emulated" in text
    assert (elsewhere.rows(), elsewhere.callers) == (before, [])


@pytest.mark.timeout(300)
async def test_the_demo_ends_well_and_touches_nothing_that_the_environment_names(elsewhere: Elsewhere) -> None:
    before = elsewhere.rows()
    code, text = await run_demo(elsewhere)
    assert code == 0, text
    assert (elsewhere.rows(), elsewhere.callers) == (before, [])
    assert "a private Postgres with PGMQ, the Google emulator and the Storage emulator" in text
    assert ("RabbitMQ: a private node" if locate() else "Without RabbitMQ") in text
    assert "All 8 assets decoded, all 16 links right." in text
    assert re.search(r"Memory of the idle stack \(PSS\): \d+ MB", text)
    last = text.splitlines()[-1]
    assert last.startswith("Gallery: /")
    page = await asyncio.to_thread(Path(last.removeprefix("Gallery: ")).read_text)
    pictures = re.findall(r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)"', page)
    films = re.findall(r'<video [^>]*src="data:video/mp4;base64,([^"]+)"', page)
    assert (len(pictures), len(films)) == (5, 3)
    for picture in pictures:
        assert probe_image(base64.b64decode(picture)).width > 100
    for film in films:
        assert sniff(base64.b64decode(film)[:64]) == "video/mp4"
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_story_shows_every_mode_and_every_form() -> None:
    plan = Plan.load(STORYBOARD)
    shown = {(one.kind, one.entity[0], one.after is not None) for one in plan.items if not one.refused}
    assert shown == {
        ("image", "scene", False),
        ("image", "character", False),
        ("image", "scene", True),
        ("video", "scene", False),
        ("video", "character", False),
        ("video", "scene", True),
    }
    assert [one.message.get("editMode") for one in plan.items if one.kind == "image" and one.after] == [True]
    assert sum(one.by_sql for one in plan.items) == 1
    assert sum(one.refused for one in plan.items) == 1
    assert "scene:prologue" in plan.rows()
    assert f"scene:{plan.id}:harbour" in plan.rows()
    assert Plan.load(STORYBOARD).id != plan.id


def test_whatever_does_not_end_as_told_is_named() -> None:
    plan = Plan.load(STORYBOARD)
    harbour, bad, letter = (plan.named(name) for name in ("harbour", "a bad item", "letter"))
    outcomes = {one.name: Outcome(one, Job(state=SUCCEEDED)) for one in plan.items}
    outcomes["a bad item"] = Outcome(bad, error="1080p needs 8 seconds")
    assert unexpected(plan, outcomes) == []
    outcomes["a bad item"] = Outcome(bad, Job(state=SUCCEEDED))
    outcomes["letter"] = Outcome(letter, error="not valid")
    failed = Job(state=JobState.JOB_STATE_FAILED)
    failed.error.message = "refused by the model"
    outcomes["harbour"] = Outcome(harbour, failed)
    del outcomes["night falls"]
    assert unexpected(plan, outcomes) == [
        "harbour: FAILED: refused by the model",
        "night falls: not sent, because harbour has no image",
        "letter: refused: not valid",
        "a bad item: was accepted, but should have been rejected",
    ]


@pytest.mark.parametrize(
    ("answer", "stated", "words"),
    [
        (Answer(404), PNG, "404"),
        (Answer(200, b"text"), PNG, "harbour: "),
        (Answer(200, PNG), PNG + b" ", "is not the one of the job"),
        (Answer(200, PNG, {"content-type": "text/plain"}), PNG, "it is served as text/plain, but is image/png"),
        (Answer(200, PNG, {"content-type": "image/png"}), PNG, ""),
    ],
    ids=["missing", "no picture", "another", "media type", "right"],
)
async def test_an_asset_is_right_only_where_its_bytes_are_those_of_the_job(
    stub: Stub, tmp_path: Path, answer: Answer, stated: bytes, words: str
) -> None:
    stub.answers["/a.png"] = answer
    asset = Asset(url=f"{stub.url}/a.png", media_type="image/png", sha256=sha256(stated).hexdigest(), width=3, height=2)
    harbour = Plan.load(STORYBOARD).named("harbour")
    outcomes = {"harbour": Outcome(harbour, Job(id="1", state=SUCCEEDED, asset=asset))}
    assets, wrong = await fetch_all(outcomes, tmp_path, through_proxy=False)
    assert len(assets) + len(wrong) == 1
    assert words in "".join(wrong)
    assert bool(assets) is (words == "")


def test_the_story_ends_once_everything_that_can_be_sent_has_ended() -> None:
    plan = Plan.load(STORYBOARD)
    unused: Any = None
    run = StoryRun(plan, unused, (), unused)
    assert not run._all_ended(), "what comes by SQL is not seen at once"
    failed = Job(state=JobState.JOB_STATE_FAILED)
    run.outcomes = {one.name: Outcome(one, failed) for one in plan.items if one.after is None}
    assert run._all_ended(), "followers of what failed are never sent"


async def test_a_link_is_right_only_where_the_row_and_the_array_name_the_asset(database_url: str) -> None:
    plan = Plan.load(STORYBOARD)
    database = StoryDatabase(database_url, KV_TABLE)
    rows = plan.rows()
    rows[f"scene:{plan.id}:harbour"]["imageUrl"] = "http://storage/new.png"
    rows[f"storyboard:{plan.id}"]["scenes"][1]["imageUrl"] = "http://storage/old.png"
    await database.put(rows)
    job = Job(asset=Asset(url="http://storage/new.png"))
    links = await read_links(plan, [FetchedAsset(item=plan.named("harbour"), job=job, data=b"")], database)
    assert [(link.value, link.right) for link in links] == [
        ("http://storage/new.png", True),
        ("http://storage/old.png", False),
    ]


def test_the_gallery_escapes_every_text() -> None:
    evil = '"><script>alert(1)</script>'
    card = Card(name=evil, mode=evil, prompt=evil, details=evil, media_type="image/png", data=b"x")
    refusal = Card(name=evil, mode=evil, prompt=evil, details=evil)
    page = render(Page(title=evil, logline=evil, facts=[evil], sections=[(evil, [card, refusal])]))
    assert "<script" not in page
    assert page.count("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;") == 14
    assert 'src="data:image/png;base64,eA=="' in page
