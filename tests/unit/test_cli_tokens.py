"""`token create`, `list` and `revoke` against a scripted TokenService; `token mint` for the devstack."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import jwt
import pytest

from devstack import mint
from superstoryboard.domain.service_tokens import fingerprint
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.token_file import parse_tokens
from superstoryboard.v1 import token_service_pb2 as api
from tests.unit.cli_fixture import Cli, running_cli
from tests.unit.cli_server import MADE_TOKEN

SERVICE_ROLE = api.ServiceTokenRole.SERVICE_TOKEN_ROLE_SERVICE_ROLE
SECRET = "a-secret-of-the-tests-that-is-long-enough"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        running.set(STORYBOARD_TOKEN="x")
        yield running


def test_create_prints_the_token_alone_on_stdout(cli: Cli) -> None:
    result = cli("token", "create", "--name=sweep", "--role=service_role")
    assert (result.code, result.out) == (0, f"{MADE_TOKEN}\n")
    assert "not shown again" in result.err
    assert "storyboard token revoke sweep" in result.err


def test_create_asks_for_what_it_was_told(cli: Cli) -> None:
    before = datetime.now(UTC) + timedelta(days=90)
    cli("token", "create", "--name=shop", "--role=service_role", "--owner=alice", "--expires=90d")
    cli("token", "create", "--name=box", "--role=worker", "--queues=images,other", "--json")
    shop, box = cli.script.of_type(api.CreateServiceTokenRequest)
    assert (shop.name, shop.role, shop.owner, list(shop.queues)) == ("shop", SERVICE_ROLE, "alice", [])
    assert before.timestamp() - 1 <= shop.expire_time.seconds <= datetime.now(UTC).timestamp() + 90 * 86_400
    assert (list(box.queues), box.HasField("expire_time")) == (["image_generation_queue", "other"], False)


@pytest.mark.parametrize("time", ["90", "d", "0d", "-1d", "90x", "9999999d"])
def test_a_wrong_time_is_wrong_usage(cli: Cli, time: str) -> None:
    result = cli("token", "create", "--name=a", "--role=service_role", f"--expires={time}")
    assert (result.code, cli.script.requests) == (2, [])
    assert "90d" in result.err


def test_list_shows_live_and_ended_tokens(cli: Cli) -> None:
    cli("token", "create", "--name=sweep", "--role=service_role")
    cli("token", "create", "--name=box", "--role=worker", "--queues=images")
    rows = [line.split() for line in cli("token", "list").out.splitlines()]
    assert rows[0][:4] == ["NAME", "ROLE", "FOR", "CREATED"]
    assert [row[:2] for row in rows[1:]] == [["sweep", "service_role"], ["box", "worker"]]
    assert rows[2][2] == "image_generation_queue"
    assert [each["name"] for each in cli("token", "list", "--json").json["serviceTokens"]] == ["sweep", "box"]
    cli("token", "revoke", "sweep")
    assert "2026-01-01 00:00:00Z" in cli("token", "list").out


def test_an_empty_list_says_so(cli: Cli) -> None:
    assert cli("token", "list").err == "No service tokens.\n"


def test_revoke_names_the_token(cli: Cli) -> None:
    assert cli("token", "revoke", "sweep").out == "Revoked sweep.\n"
    assert [each.name for each in cli.script.of_type(api.RevokeServiceTokenRequest)] == ["sweep"]


def test_a_refusal_says_what_to_do(cli: Cli) -> None:
    cli.script.error = ApiError(grpc.StatusCode.ALREADY_EXISTS, "TOKEN_NAME_IN_USE", "it is used")
    result = cli("token", "create", "--name=sweep", "--role=service_role")
    assert (result.code, result.out) == (1, "")
    assert "storyboard token revoke NAME" in result.err


def test_a_line_for_the_file_is_stored_nowhere(cli: Cli) -> None:
    result = cli("token", "create", "--name=sweep", "--role=service_role", "--for-file")
    (kept,) = parse_tokens(result.err)
    assert (kept.name, kept.role, kept.sha256) == ("sweep", "service_role", fingerprint(result.out.strip()))
    worker = cli("token", "create", "--name=box", "--role=worker", "--queues=images,videos", "--for-file")
    assert parse_tokens(worker.err)[0].queues == ("image_generation_queue", "video_generation_queue")
    assert cli.script.requests == []
    assert cli("token", "create", "--name=a", "--role=service_role", "--owner=x", "--for-file").code == 2


def test_the_database_must_be_named_to_be_used(cli: Cli) -> None:
    result = cli("token", "list", "--database")
    assert (result.code, cli.script.requests) == (2, [])
    assert "DATABASE_URL" in result.err


def test_a_database_that_is_away_is_unreachable(cli: Cli) -> None:
    cli.set(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing", STORYBOARD_TOKEN="")
    result = cli("token", "list")
    assert (result.code, cli.script.requests) == (3, [])
    assert "DATABASE_URL" in result.err


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("superstoryboard.devstack.mint.STATE", tmp_path)
    mint.allow(tmp_path, secret=SECRET, issuer="http://here/auth/v1", ingest_address="127.0.0.1:50051")
    return tmp_path


def test_mint_makes_a_user_of_the_devstack(cli: Cli, stack: Path) -> None:
    cli.set(INGEST_ADDRESS="127.0.0.1:50051")
    claims = jwt.decode(cli("token", "mint", "alice").out.strip(), SECRET, ["HS256"], audience="authenticated")
    assert (claims["sub"], claims["role"], claims["iss"]) == ("alice", "authenticated", "http://here/auth/v1")
    assert stat.S_IMODE((stack / mint.FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("place", ["ingest.example:443", "127.0.0.1:50052", "127.0.0.1:500511"])
def test_mint_refuses_any_other_place(cli: Cli, stack: Path, place: str) -> None:
    assert stack
    cli.set(INGEST_ADDRESS=place, SUPABASE_JWT_SECRET=SECRET)
    result = cli("token", "mint", "alice", "--role=service_role")
    assert (result.code, result.out) == (1, "")
    assert "no token is made" in result.err
    assert SECRET not in result.err


def test_mint_refuses_where_no_stack_runs(cli: Cli, stack: Path) -> None:
    mint.forbid(stack)
    mint.forbid(stack)
    cli.set(INGEST_ADDRESS="127.0.0.1:50051", SUPABASE_JWT_SECRET=SECRET)
    result = cli("token", "mint", "alice")
    assert (result.code, result.out) == (1, "")
    assert "storyboard up" in result.err


def test_what_minting_needs_is_json(stack: Path) -> None:
    (stack / mint.FILE).write_text(json.dumps([])[:1])
    with pytest.raises(mint.MintError, match="storyboard up"):
        mint.minted(stack, "alice", "authenticated", "")
