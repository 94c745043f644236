"""The short form of `make faults`: some rows of the matrix with few jobs, and every sort of lie told to its account."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.e2e.pipeline import KV
from tests.emulators import google_fixture
from tests.emulators.storage_fixture import SECRET_KEY
from tests.faults.account import Account, account
from tests.faults.broken import BREAKS
from tests.faults.report import HEAD, cells, document, total
from tests.faults.row import Row, nothing
from tests.faults.rows import ROWS
from tests.faults.run import Result, Runner, faults_of
from tests.faults.variants import VARIANTS, Variant
from tests.faults.world import World, world
from tests.running import base_env

IMAGES, VIDEOS = 5, 3
AWAY_SECONDS = 12.0
"""Longer than two leases."""
CONTROL_AGE_SECONDS = 600.0
FEW = 0.4
"""Of the jobs of a row, where its end is what matters: two images and a video."""
SEED = 20_261_121
BREAK_EACH = """
import os
from tests.faults.broken import BREAKS
for name, breaks in BREAKS.items():
    if os.fork() == 0:
        breaks()
        os._exit(0)
    assert os.wait()[1] == 0, name
"""
BY_NAME = {row.name: row for row in ROWS}
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    started = Runner(
        partial(world, SEED, away_seconds=AWAY_SECONDS), IMAGES, VIDEOS, control_age_seconds=CONTROL_AGE_SECONDS
    )
    yield started
    assert started.close() == ""


@pytest.mark.parametrize(
    "name",
    [
        "kill -9 image_worker at random",
        "kill -9 video_worker at random",
        "kill -9 asset_writer at random",
        "deliveries come twice",
        "two attempts at one job",
        "answers of COMMIT are lost",
        "RabbitMQ is gone",
        "publishes are lost",
        "messages are removed by hand",
    ],
)
def test_nothing_is_lost_and_nothing_is_paid_twice(runner: Runner, name: str) -> None:
    result = runner.run(BY_NAME[name])
    assert result.wrong == [], result.counts
    assert result.counts is not None
    assert result.counts.images.stored + result.counts.videos.stored == result.counts.succeeded


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.function], ids=lambda variant: variant.name)
def test_a_broken_variant_still_breaks_one_line(variant: Variant, sql: psycopg.Connection) -> None:
    variant.apply(sql)


def test_each_broken_variant_of_a_process_still_breaks_something() -> None:
    """Each in a process of its own, which a fork of one that has imported everything is."""
    assert set(BREAKS) <= {variant.python for variant in VARIANTS}
    subprocess.run([sys.executable, "-c", BREAK_EACH], cwd=ROOT, env=base_env(), check=True, timeout=120)


@pytest.fixture(scope="module")
def clean(runner: Runner) -> Result:
    """A row without fault."""
    return runner.run(BY_NAME["no fault"])


@pytest.fixture(scope="module")
def honest(runner: Runner, clean: Result) -> tuple[World, datetime]:
    """A row without fault, whose books are in order."""
    assert clean.wrong == []
    running = runner.world()
    healed = running.now()
    assert account(running, running.asked, healed).faults == []
    return running, healed


def _count(honest: tuple[World, datetime]) -> Account:
    running, healed = honest
    return account(running, running.asked, healed)


def _one(running: World, statement: str, *values: object) -> str:
    row = running.running.sql.execute(statement, values).fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def _changed(running: World, statement: str, back: str) -> Iterator[None]:
    running.running.sql.execute(statement)
    yield
    running.running.sql.execute(back)


def test_an_object_that_was_replaced_in_storage_is_noticed(honest: tuple[World, datetime]) -> None:
    running, _ = honest
    url = _one(
        running,
        "select url from superstoryboard.assets a join superstoryboard.jobs j on j.id = a.job_id"
        " where j.storyboard_id = %s limit 1",
        running.row,
    )
    place = url.replace("/object/public/", "/object/")
    headers = {"authorization": f"Bearer {SECRET_KEY}", "apikey": SECRET_KEY, "x-upsert": "true"}
    good = httpx.get(url, timeout=90).raise_for_status()
    kind = {"content-type": good.headers["content-type"]}
    httpx.post(place, content=good.content + b"x", headers=headers | kind, timeout=90).raise_for_status()
    counts = _count(honest)
    assert counts.wrong_bytes == 1
    assert counts.images.stored + counts.videos.stored == counts.succeeded - 1
    httpx.delete(place, headers=headers, timeout=90).raise_for_status()
    assert _count(honest).wrong_bytes == 1
    httpx.post(place, content=good.content, headers=headers | kind, timeout=90).raise_for_status()
    assert _count(honest).faults == []


def test_a_hash_that_google_never_gave_out_is_noticed(honest: tuple[World, datetime]) -> None:
    """Storage and the database agree on bytes that were never paid for."""
    running, _ = honest
    one, other = running.running.sql.execute(
        "select a.job_id, a.url, a.sha256 from superstoryboard.assets a join superstoryboard.jobs j on j.id = a.job_id"
        " where j.storyboard_id = %s and j.kind = 'image' order by j.id limit 2",
        (running.row,),
    ).fetchall()
    change = "update superstoryboard.assets set url = '{}', sha256 = '{}' where job_id = '{}'"
    with _changed(running, change.format(other[1], other[2], one[0]), change.format(one[1], one[2], one[0])):
        assert _count(honest).wrong_bytes == 1
    assert _count(honest).faults == []


@pytest.mark.parametrize("instead", ["another scene's picture", "nothing"])
def test_a_link_that_points_elsewhere_is_noticed(honest: tuple[World, datetime], instead: str) -> None:
    running, _ = honest
    key = f"storyboard:{running.row}"
    board = running.running.kv(key)
    scenes = [scene for scene in board["scenes"] if "imageUrl" in scene]
    url = scenes[1]["imageUrl"] if instead == "another scene's picture" else f"{scenes[0]['imageUrl']}.gone"
    wrong = {"scenes": [scene | {"imageUrl": url} if scene is scenes[0] else scene for scene in board["scenes"]]}
    write = f"update {KV} set value = %s where key = %s"
    running.running.sql.execute(write, (Jsonb(wrong), key))
    assert _count(honest).wrong_links == 1
    running.running.sql.execute(write, (Jsonb(board), key))
    assert _count(honest).faults == []


def test_a_missing_link_is_noticed(honest: tuple[World, datetime]) -> None:
    running, _ = honest
    key = f"storyboard:{running.row}"
    board = running.running.kv(key)
    write = f"update {KV} set value = %s where key = %s"
    running.running.sql.execute(write, (Jsonb({"scenes": []}), key))
    assert _count(honest).lost == running.asked - 1  # two images are of one scene
    running.running.sql.execute(write, (Jsonb(board), key))
    assert _count(honest).faults == []


@pytest.mark.parametrize("state", ["QUEUED", "STAGED", "FAILED", "CANCELLED"])
def test_a_job_that_did_not_succeed_is_noticed(honest: tuple[World, datetime], state: str) -> None:
    running, _ = honest
    job = _one(running, "select id from superstoryboard.jobs where storyboard_id = %s and scene_id = 's1'", running.row)
    checks = "alter table superstoryboard.jobs {} trigger user"
    change = (
        "update superstoryboard.jobs set state = '{0}',"
        " progress_percent = case '{0}' when 'SUCCEEDED' then 100 else 99 end where id = '{1}'"
    )
    with (
        _changed(running, checks.format("disable"), checks.format("enable")),
        _changed(running, change.format(state, job), change.format("SUCCEEDED", job)),
    ):
        counts = _count(honest)
    assert counts.lost == (state != "CANCELLED")
    assert counts.cancelled == (state == "CANCELLED")
    assert counts.wrong_links == 1
    assert _count(honest).faults == []


def test_a_call_that_the_ledger_hides_is_noticed(honest: tuple[World, datetime]) -> None:
    running, _ = honest
    call = _one(
        running,
        "select c.id from superstoryboard.provider_calls c"
        " join superstoryboard.jobs j on j.id = c.job_id"
        " where j.storyboard_id = %s and c.paid limit 1",
        running.row,
    )
    change = "update superstoryboard.provider_calls set paid = {} where id = {}"
    with _changed(running, change.format("false", call), change.format("true", call)):
        assert _count(honest).booked_unpaid == 1
    assert _count(honest).faults == []


def test_a_name_that_the_ledger_lost_is_counted(honest: tuple[World, datetime]) -> None:
    running, _ = honest
    call, name = running.running.sql.execute(
        "select c.id, c.operation_name from superstoryboard.provider_calls c"
        " join superstoryboard.jobs j on j.id = c.job_id"
        " where j.storyboard_id = %s and c.operation_name is not null limit 1",
        (running.row,),
    ).fetchall()[0]
    change = "update superstoryboard.provider_calls set operation_name = {} where id = {}"
    with _changed(running, change.format("null", call), change.format(f"'{name}'", call)):
        counts = _count(honest)
        assert counts.names_lost == 1
        assert faults_of(Row("may lose names", nothing), counts, running) == []
        assert faults_of(Row("must find them", nothing, finds=True), counts, running) == ["1 names lost"]
    assert _count(honest).names_lost == 0


def test_an_extra_paid_call_is_noticed(honest: tuple[World, datetime]) -> None:
    """Last of those that share the row: what was paid stays paid."""
    running, _ = honest
    google = running.running.google
    first = "select generation ->> 'prompt' from superstoryboard.jobs where storyboard_id = %s and kind = %s limit 1"
    google_fixture.make_picture(google, prompt=_one(running, first, running.row, "image")).raise_for_status()
    counts = _count(honest)
    assert (counts.second_payments, counts.images.discarded, counts.booked_unpaid) == (1, 0, 1)
    assert counts.images.paid == counts.images.stored + 1
    assert counts.images.ratio == "1.20"
    google_fixture.submit_video(
        google, prompt=_one(running, first, running.row, "video"), durationSeconds=4
    ).raise_for_status()
    counts = _count(honest)
    assert (counts.second_payments, counts.names_lost, counts.videos.paid) == (2, 1, VIDEOS + 1)
    google_fixture.make_picture(google, prompt="a picture that no job asked for").raise_for_status()
    assert _count(honest).second_payments == 3


def test_a_fault_that_strikes_nothing_is_repeated_and_then_not_run(runner: Runner) -> None:
    result = runner.run(Row("strikes nothing", nothing, evidence=lambda _: 0, factor=FEW))
    assert (result.repeats, result.wrong) == (2, ["not run: its fault struck nothing"])


def test_a_row_that_breaks_names_the_error_and_the_next_one_runs(runner: Runner) -> None:
    def breaks(running: World) -> None:
        running.running.services["image_worker"].kill()
        raise LookupError("no such thing")

    result = runner.run(Row("breaks", breaks, factor=FEW))
    assert result.counts is None
    assert result.wrong[0] == "broke: LookupError: no such thing"
    assert result.wrong[1].startswith("open: ")
    assert runner.run(BY_NAME["no fault"]).wrong == []


def test_a_slow_machine_is_no_fault_and_a_slow_recovery_is(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "patience_seconds", 600.0)
    # As if the machine had been fast when the control ran: it runs again, and tells how slow the machine is now.
    monkeypatch.setattr(runner, "_control", -100.0)
    monkeypatch.setattr(runner, "_controlled", time.monotonic())
    result = runner.run(Row("on a slow machine", nothing, leases=0, evidence=None, factor=FEW))
    assert result.wrong == []
    assert result.bound > 0
    seconds = -2 * runner.control() - 300
    hasty = Row("may take no time at all", nothing, leases=0, evidence=None, factor=FEW, extra_seconds=seconds)
    (said,) = runner.run(hasty).wrong
    assert said.startswith("recovered after ")


def test_the_page_has_a_cell_for_each_column(clean: Result) -> None:
    good, broken = clean, Result(BY_NAME["no fault"], None, ["broke: LookupError: a | b"])
    assert len(cells(good)) == len(cells(broken)) == len(HEAD)
    page = document([good, broken], [], seed=1, jobs=8, lease_seconds=5)
    lines = [line for line in page.splitlines() if line.startswith("| no fault")]
    assert [line.count(" | ") for line in lines] == [len(HEAD) - 1] * 2
    assert "5 paid for 5 finished images (1.00)" in total([good])
    assert "3 paid for 3 finished videos (1.00)" in page
