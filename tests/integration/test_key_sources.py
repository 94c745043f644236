"""Where key sets are read, and everything that such a place may do instead of answering."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.stack.ports import free_port
from devstack.stack.tokens import SigningKey
from superstoryboard.rpc import key_sources
from superstoryboard.rpc.key_sources import KeyFile, KeyUrl
from superstoryboard.rpc.token_keys import MAX_SET_BYTES, KeySetError, parse_key_set
from tests.auth_server import AuthServer, auth_server

KEY = SigningKey()
GOOD = {"keys": [KEY.published]}


@pytest.fixture(scope="module")
def server() -> Iterator[AuthServer]:
    with auth_server(KEY.published) as running:
        yield running


@pytest.fixture
def auth(server: AuthServer) -> AuthServer:
    server.reset()
    return server


async def test_the_set_of_a_project_is_read(auth: AuthServer) -> None:
    assert set(parse_key_set(await KeyUrl(auth.jwks_url).read()).keys) == {KEY.kid}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"status": 503}, "HTTP 503"),
        ({"status": 404, "body": {"message": "no Route matched"}}, "HTTP 404"),
        ({"status": 302, "headers": {"location": "/auth/v1/.well-known/jwks.json"}}, "HTTP 302"),
        ({"status": 301, "body": GOOD, "headers": {"location": "http://169.254.169.254/"}}, "HTTP 301"),
        ({"status": 206, "body": GOOD}, "HTTP 206"),
        ({"drop": True}, "cannot be reached"),
        ({"body": GOOD, "drop": True, "body_bytes": 10}, "cannot be reached"),
        ({"body_bytes": MAX_SET_BYTES + 1}, f"at most {MAX_SET_BYTES} bytes"),
        ({"body_bytes": 500_000_000}, f"at most {MAX_SET_BYTES} bytes"),
        ({"body": GOOD, "headers": {"content-encoding": "gzip"}}, "compressed"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_is_no_good_answer_is_refused(auth: AuthServer, entry: dict[str, Any], words: str) -> None:
    auth.script(**entry)
    with pytest.raises(KeySetError, match=words):
        await KeyUrl(auth.jwks_url).read()
    assert auth.reads() == 1  # nothing was followed


@pytest.mark.parametrize("entry", [{"hold": True}, {"body": GOOD, "drip_seconds": 0.05}], ids=["silent", "dripping"])
async def test_a_slow_answer_is_bounded_as_a_whole(
    auth: AuthServer, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte of the dripping one comes in time, all of them would take half a minute."""
    monkeypatch.setattr(key_sources, "READ_SECONDS", 1.0)
    auth.script(**entry)
    with pytest.raises(KeySetError, match="did not answer within 1 s"):
        await KeyUrl(auth.jwks_url).read()


async def test_nobody_there() -> None:
    with pytest.raises(KeySetError, match="cannot be reached"):
        await KeyUrl(f"http://127.0.0.1:{free_port()}/jwks").read()


async def test_a_file_is_bounded_too(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    with pytest.raises(KeySetError, match="cannot be read"):
        await KeyFile(file).read()
    file.write_bytes(b" " * (MAX_SET_BYTES + 1))
    with pytest.raises(KeySetError, match="at most"):
        await KeyFile(file).read()
    file.write_bytes(gzip.compress(b"{}"))
    assert await KeyFile(file).read() == file.read_bytes()
