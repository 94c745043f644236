"""Doctor reads the keys of users' tokens as services do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.stack.ports import free_port
from devstack.stack.tokens import SigningKey
from tests.auth_server import AuthServer, auth_server
from tests.doctor.fixture import Doctor

KEY = SigningKey()
SECRET = "v1-0ther-9ahXee2ooPh7quaeWoo4ieng0ahPh3"
OCT = {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}


@pytest.fixture(scope="module")
def server() -> Iterator[AuthServer]:
    with auth_server(KEY.published) as running:
        yield running


@pytest.fixture
def auth(server: AuthServer, doctor: Doctor) -> AuthServer:
    server.reset()
    server.publish(KEY.published)
    doctor.set(SUPABASE_JWKS_URL=server.jwks_url, JWT_ISSUERS=server.issuer)
    return server


def test_usable_keys_are_named(doctor: Doctor, auth: AuthServer) -> None:
    del auth
    result = doctor()
    assert (result.code, result.state("token keys")) == (0, "ok")
    assert f"{KEY.kid} (ES256) read from SUPABASE_JWKS_URL" in result.sentence("token keys")


@pytest.mark.parametrize(
    ("keys", "secret", "expected"),
    [
        ([KEY.published, OCT], "", ("warning", "not used: oct key shared: only EC")),
        ([OCT], "", ("warning", "no usable key")),
        ([], "", ("warning", "set SUPABASE_JWT_SECRET")),
        ([], SECRET, ("ok", "SUPABASE_JWT_SECRET is set")),
    ],
)
def test_sets_that_services_cannot_use_whole(
    doctor: Doctor, auth: AuthServer, keys: list[dict[str, Any]], secret: str, expected: tuple[str, str]
) -> None:
    auth.publish(*keys)
    doctor.hide(OCT["k"], SECRET)
    doctor.set(SUPABASE_JWT_SECRET=secret)
    result = doctor()
    assert (result.code, result.state("token keys")) == (0, expected[0])
    assert expected[1] in result.sentence("token keys")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"status": 302, "headers": {"location": "/"}}, "answered with HTTP 302"),
        ({"status": 200, "body": "<html>"}, "must be JSON"),
        ({"status": 500}, "answered with HTTP 500"),
    ],
)
def test_keys_that_cannot_be_read(doctor: Doctor, auth: AuthServer, entry: dict[str, Any], words: str) -> None:
    auth.script(**entry)
    result = doctor()
    assert (result.code, result.failed) == (3, ["token keys"])
    assert words in result.sentence("token keys")
    auth.script(**entry)
    doctor.set(SUPABASE_JWT_SECRET=SECRET)
    assert doctor().state("token keys") == "warning"


def test_nobody_there(doctor: Doctor) -> None:
    doctor.set(SUPABASE_JWKS_URL=f"http://127.0.0.1:{free_port()}/jwks.json")
    assert "cannot be reached" in doctor().sentence("token keys")


def test_a_file_and_the_issuer_of_the_token(doctor: Doctor, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [KEY.published]}))
    doctor.set(SUPABASE_JWKS_FILE=str(file))
    assert "nothing says whose tokens" in doctor().sentence("token issuer")
    doctor.set(JWT_ISSUERS="https://a/auth/v1")
    for issuer, failed in (("https://a/auth/v1", []), ("https://b/auth/v1", ["token issuer"])):
        token = KEY.sign({"iss": issuer, "exp": time.time() + 3600})
        doctor.hide(token)
        doctor.set(STORYBOARD_TOKEN=token)
        assert doctor().failed == failed
