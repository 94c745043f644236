"""What the command line says about a refused token: the rule, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from superstoryboard.rpc.errors import ApiError
from tests.unit.cli_fixture import Cli, running_cli


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        yield running


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("UNAUTHENTICATED", "TOKEN_INVALID", "Set STORYBOARD_TOKEN to a valid token."),
        ("UNAUTHENTICATED", "TOKEN_EXPIRED", "Set it to a new token."),
        ("UNAUTHENTICATED", "TOKEN_NOT_YET_VALID", "clocks"),
        ("UNAUTHENTICATED", "TOKEN_KEY_UNKNOWN", "repeat in 30 s"),
        ("UNAUTHENTICATED", "TOKEN_ISSUER_REFUSED", "JWT_ISSUERS"),
        ("UNAUTHENTICATED", "TOKEN_AUDIENCE_REFUSED", "access token"),
        ("UNAUTHENTICATED", "TOKEN_ROLE_REFUSED", "role service_role"),
        ("UNAUTHENTICATED", "TOKEN_API_KEY", "not to an API key"),
        ("PERMISSION_DENIED", "ANONYMOUS_REFUSED", "ALLOW_ANONYMOUS_USERS=true"),
        ("UNAUTHENTICATED", "TOKEN_REVOKED", "storyboard token create"),
        ("UNAUTHENTICATED", "TOKEN_UNKNOWN", "storyboard token list"),
        ("ALREADY_EXISTS", "TOKEN_NAME_IN_USE", "storyboard token revoke NAME"),
        ("RESOURCE_EXHAUSTED", "TOO_MANY_TOKENS", "storyboard token list"),
        ("PERMISSION_DENIED", "ON_BEHALF_OF_REFUSED", "without --owner"),
        ("PERMISSION_DENIED", "ROLE_REQUIRED", "The role of STORYBOARD_TOKEN does not allow this"),
    ],
)
def test_each_reason_has_its_advice(cli: Cli, code: str, reason: str, words: str) -> None:
    cli.script.error = ApiError(grpc.StatusCode[code], reason, "it is refused")
    result = cli("image", "x")
    first, advice = result.err.splitlines()
    assert (result.code, first) == (1, f"it is refused ({reason})")
    assert words in advice


def test_a_service_without_keys_is_unreachable_and_says_where_they_come_from(cli: Cli) -> None:
    cli.script.error = ApiError(grpc.StatusCode.UNAVAILABLE, "TOKEN_KEYS_UNAVAILABLE", "no keys yet")
    result = cli("image", "x")
    assert result.code == 3
    assert "is running but not ready: no keys yet" in result.err
    assert "Check SUPABASE_URL of the service" in result.err
