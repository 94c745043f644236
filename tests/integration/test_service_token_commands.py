"""`storyboard token` straight into a real database, where nobody can call yet."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from superstoryboard.domain.service_tokens import fingerprint
from tests.unit.cli_fixture import Cli, running_cli

CREATE = ("token", "create", "--name=sweep", "--role=service_role")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        running.set(DATABASE_URL=database_url)
        yield running


def test_the_first_token_needs_the_database_alone(cli: Cli, sql: psycopg.Connection) -> None:
    made = cli(*CREATE, "--expires=30d")
    assert made.code == 0
    row = sql.execute("select sha256, created_by, expires_at > now() from superstoryboard.service_tokens").fetchone()
    assert row == (fingerprint(made.out.strip()), "database", True)
    (listed,) = cli("token", "list", "--json").json["serviceTokens"]
    assert (listed["name"], listed["createdBy"]) == ("sweep", "database")
    again = cli(*CREATE)
    assert (again.code, again.out) == (1, "")
    assert "has this name" in again.err
    assert cli("token", "revoke", "sweep").code == 0
    assert cli("token", "revoke", "sweep").code == 1
    assert cli(*CREATE).code == 0
    assert cli.script.requests == []


def test_a_token_goes_through_ingest_unless_the_database_is_asked_for(cli: Cli) -> None:
    cli.set(STORYBOARD_TOKEN="x")
    cli("token", "list")
    assert len(cli.script.requests) == 1
    cli("token", "list", "--database")
    assert len(cli.script.requests) == 1


def test_what_is_wrong_is_named(cli: Cli) -> None:
    wrong = cli("token", "create", "--name=Sweep", "--role=worker")
    assert (wrong.code, [line.split(":")[0] for line in wrong.err.splitlines()]) == (2, ["name", "queues"])
    unknown = cli("token", "create", "--name=box", "--role=worker", "--queues=no_such_queue")
    assert (unknown.code, "does not exist" in unknown.err) == (1, True)


def test_a_database_without_the_table_asks_for_migrate(cli: Cli, empty_database_url: str) -> None:
    cli.set(DATABASE_URL=empty_database_url)
    result = cli("token", "list")
    assert result.code == 3
    assert "storyboard migrate" in result.err
