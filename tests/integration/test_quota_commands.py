"""`storyboard quota`, straight into a real database."""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Iterator

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.quotas import QUOTALESS
from tests.integration.quota_steps import hold_clock, quota, submit
from tests.unit.cli_fixture import Cli, running_cli


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        running.set(DATABASE_URL=database_url)
        yield running


def rows(sql: psycopg.Connection) -> list[tuple[object, ...]]:
    return sql.execute("select * from superstoryboard.quotas order by kind, scope, owner").fetchall()


def test_a_quota_is_set_number_by_number_and_removed(cli: Cli, sql: psycopg.Connection) -> None:
    assert cli("quota", "set", "images", "--open-jobs=5", "--per-day=9").code == 0
    changed = cli("quota", "set", "images", "--per-day=0", "--json")
    assert changed.json == {
        "kind": "image",
        "scope": "EVERYONE",
        "owner": "",
        "open_jobs": 5,
        "per_minute": None,
        "per_day": 0,
    }
    assert cli("quota", "set", "videos", "--anonymous", "--per-minute=1").code == 0
    assert cli("quota", "set", "images", "--owner=alice", "--open-jobs=7").code == 0
    assert rows(sql) == [
        ("image", "EVERYONE", "", 5, None, 0),
        ("image", "OWNER", "alice", 7, None, None),
        ("video", "ANONYMOUS", "", None, 1, None),
    ]
    assert cli("quota", "unset", "images").code == 0
    assert cli("quota", "unset", "images").code == 1
    assert cli("quota", "unset", "videos", "--anonymous").code == 0
    assert [row[2] for row in rows(sql)] == ["alice"]
    assert cli.script.requests == []


async def test_what_is_set_counts_and_is_shown(cli: Cli, sql: psycopg.Connection, database: Database) -> None:
    hold_clock(sql)
    await to_thread(cli, "quota", "set", "images", "--per-day=1")
    assert quota(await submit(database, owner="alice", request_id="1")) == "created"
    assert quota(await submit(database, owner="alice", request_id="2")) == "PER_DAY"
    shown = await to_thread(cli, "quota", "show", "alice")
    assert shown.out.split("\n")[1].split() == ["image", "1", "1", "1", "of", "1"]
    await to_thread(cli, "quota", "set", "images", "--owner=alice", "--per-day=0")
    assert quota(await submit(database, owner="alice", request_id="2")) == "created"
    (image, _) = (await to_thread(cli, "quota", "show", "alice", "--json")).json
    assert (image["open_now"], image["per_day"]) == (2, None)


def test_weights_are_set_and_one_is_not_kept(cli: Cli, sql: psycopg.Connection) -> None:
    assert cli("quota", "weight", "alice", "2.5").out == "alice has weight 2.5.\n"
    assert cli("quota", "list", "--json").json == {"quotas": [], "weights": {"alice": 2.5}}
    assert "alice has weight 2.5." in cli("quota", "show", "alice").out
    assert cli("quota", "weight", "alice", "1").code == 0
    assert sql.execute("select count(*) from superstoryboard.owner_weights").fetchone() == (0,)


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "images"),
        ("set", "images", "--per-day=-1"),
        ("set", "images", "--per-day=2147483648"),
        ("set", "images", "--owner=a", "--anonymous", "--per-day=1"),
        ("set", "images", "--owner=a\nb", "--per-day=1"),
        *(("set", "images", f"--owner={owner}", "--per-day=1") for owner in QUOTALESS),
        ("weight", "alice", "0"),
        ("weight", "alice", "nan"),
        ("weight", "a" * 129, "2"),
    ],
)
def test_what_is_wrong_changes_nothing(cli: Cli, sql: psycopg.Connection, arguments: tuple[str, ...]) -> None:
    assert cli("quota", *arguments).code == 2
    assert rows(sql) == []
    assert sql.execute("select count(*) from superstoryboard.owner_weights").fetchone() == (0,)


def test_without_a_database_it_says_what_to_set(cli: Cli, empty_database_url: str) -> None:
    cli.set(DATABASE_URL=empty_database_url)
    assert (cli("quota", "list").code, "storyboard migrate" in cli("quota", "list").err) == (3, True)
    cli.set(DATABASE_URL="")
    assert (cli("quota", "list").code, "DATABASE_URL" in cli("quota", "list").err) == (2, True)


def test_the_names_without_a_quota_are_those_of_the_database(sql: psycopg.Connection) -> None:
    (body,) = sql.execute("select prosrc from pg_proc where proname = 'quota_of'").fetchone() or ("",)
    (names,) = re.findall(r"p_owner not in \(([^)]*)\)", body)
    assert set(re.findall(r"'(\w+)'", names)) == set(QUOTALESS)
