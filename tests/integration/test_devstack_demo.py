"""The demo runs as a newcomer runs it, and its checks find what is wrong."""

import asyncio
import base64
import re
import sys
from pathlib import Path

import pytest

from devstack.demo import STORYBOARD
from devstack.demo_check import FetchedAsset, read_links, unexpected
from devstack.demo_plan import Plan, StoryDatabase
from devstack.demo_run import Outcome
from devstack.gallery import Card, Page, render
from devstack.program import base_env
from devstack.stack import ROOT
from superstoryboard.media import sniff
from superstoryboard.media.images import probe_image
from superstoryboard.v1.job_pb2 import Asset, Job, JobState

DEMO_SECONDS = 100.0
KV_TABLE = "kv_store_7ee7668a"
SUCCEEDED = JobState.JOB_STATE_SUCCEEDED


@pytest.mark.timeout(120)
async def test_the_demo_ends_well_with_a_complete_gallery(amqp_url: str) -> None:
    demo = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "devstack.demo",
        cwd=ROOT,
        env=base_env() | {"AMQP_URL": amqp_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(demo.communicate(), DEMO_SECONDS)
    text = out.decode()
    assert demo.returncode == 0, text + err.decode()
    assert "RabbitMQ: that of AMQP_URL" in text
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
        "night falls: never sent, because harbour has no picture",
        "letter: refused: not valid",
        "a bad item: was accepted, but must be refused",
    ]


async def test_a_link_is_right_only_where_the_row_and_the_array_name_the_asset(database_url: str) -> None:
    plan = Plan.load(STORYBOARD)
    database = StoryDatabase(database_url, KV_TABLE)
    rows = plan.rows()
    rows[f"scene:{plan.id}:harbour"]["imageUrl"] = "http://storage/new.png"
    rows[f"storyboard:{plan.id}"]["scenes"][1]["imageUrl"] = "http://storage/old.png"
    await database.put(rows)
    job = Job(asset=Asset(url="http://storage/new.png"))
    links = await read_links(plan, [FetchedAsset(item=plan.named("harbour"), job=job, data=b"")], database)
    assert [(link.found, link.right) for link in links] == [
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
