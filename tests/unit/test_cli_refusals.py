"""What the command line says about a refused call: the rule, and what to do, for every reason there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import typer

from storyboard.api.rpc_errors import HINTS, REASON_HINTS
from storyboard.app import build_app
from superstoryboard.rpc.errors import ApiError
from tests.unit.cli_fixture import Cli, running_cli
from tests.unit.cli_server import job_id

ROOT = Path(__file__).parents[2]
EXIT_CODES = {"INVALID_ARGUMENT": 2, "UNAVAILABLE": 3, "DEADLINE_EXCEEDED": 3}
WORDS = {
    "TOKEN_INVALID": "Set STORYBOARD_TOKEN to a valid token.",
    "TOKEN_EXPIRED": "Set it to a new token.",
    "TOKEN_NOT_YET_VALID": "clocks",
    "TOKEN_KEY_UNKNOWN": "repeat in 30 s",
    "TOKEN_KEYS_UNAVAILABLE": "Check SUPABASE_URL of the service",
    "TOKEN_ISSUER_REFUSED": "JWT_ISSUERS",
    "TOKEN_AUDIENCE_REFUSED": "access token",
    "TOKEN_ROLE_REFUSED": "role service_role",
    "TOKEN_API_KEY": "not to an API key",
    "ANONYMOUS_REFUSED": "ALLOW_ANONYMOUS_USERS=true",
    "TOKEN_REVOKED": "storyboard token create",
    "TOKEN_UNKNOWN": "storyboard token list",
    "TOKEN_NAME_IN_USE": "storyboard token revoke NAME",
    "TOO_MANY_TOKENS": "storyboard token list",
    "ON_BEHALF_OF_REFUSED": "without --owner",
    "ROLE_REQUIRED": "storyboard token create",
    "NOT_YOURS": "storyboard share STORYBOARD USER",
    "NO_OWNER": "storyboard transfer STORYBOARD USER",
    "MEMBER_LIMIT": "storyboard unshare",
    "QUOTA_EXCEEDED": "docs/QUOTAS.md",
    "SECOND_PAYMENT": "--accept-second-payment",
    "EVENTS_PRUNED": "--after 0",
}


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        yield running


def reasons() -> dict[str, str]:
    """The gRPC status of every reason that a service gives, as the reference lists them."""
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([A-Z_]+) \|", page.partition("## Reasons of refused calls")[2], re.MULTILINE)
    assert len(rows) > 35
    return dict(rows)


def test_each_reason_has_its_advice(cli: Cli) -> None:
    for reason, code in reasons().items():
        cli.script.error = ApiError(grpc.StatusCode[code], reason, "it is refused")
        result = cli("job", job_id(1))
        first, *advice = result.err.splitlines()
        assert result.code == EXIT_CODES.get(code, 1), reason
        assert first.endswith("not ready: it is refused" if result.code == 3 else f"it is refused ({reason})")
        assert len(advice) == (code != "INVALID_ARGUMENT"), f"{reason}: the message alone says which field is wrong"
        assert WORDS.get(reason, "") in "".join(advice)


def test_advice_is_about_what_there_is() -> None:
    assert set(WORDS) | set(REASON_HINTS) <= set(reasons())
    app = typer.main.get_group(build_app())
    for hint in (*HINTS.values(), *REASON_HINTS.values()):
        for command, option in re.findall(r"`storyboard ([a-z -]*[a-z])[^`]*`(?: or with | with )?(--[a-z-]+)?", hint):
            assert accepts(app, command.split(), option), hint


def accepts(group: typer.core.TyperGroup, names: list[str], option: str) -> bool:
    """Whether there is such a command, with that option where one is named."""
    command = group.commands.get(names[0])
    if len(names) > 1 and isinstance(command, typer.core.TyperGroup):
        return accepts(command, names[1:], option)
    return command is not None and (not option or any(option in each.opts for each in command.params))


def test_several_refusals_of_a_batch_have_one_advice(cli: Cli, tmp_path: Path) -> None:
    cli.script.refused_item = ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", "the quota is used up")
    file = tmp_path / "images.json"
    file.write_text('[{"storyboardId": "b", "prompt": "x"}, {"storyboardId": "b", "prompt": "y"}]')
    result = cli("batch-images", str(file))
    assert result.code == 1
    items = [f"item {index}: the quota is used up (QUOTA_EXCEEDED)" for index in (0, 1)]
    assert result.err.splitlines() == [*items, REASON_HINTS["QUOTA_EXCEEDED"]]
