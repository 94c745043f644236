"""The Auth part of the emulated project: public keys below the same address as Storage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from devstack.stack.tokens import SigningKey
from tests.emulators.storage_fixture import RunningEmulator, running_emulator

KEY = SigningKey()
PATH = "/auth/v1/.well-known/jwks.json"


@pytest.fixture(scope="module")
def emulator(storage_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    folder: Path = tmp_path_factory.mktemp("auth")
    file = folder / "jwks.json"
    file.write_text(json.dumps({"keys": [KEY.published]}))
    with running_emulator(storage_database_url, folder, "--jwks-file", str(file)) as running:
        yield running


@pytest.fixture
def client(emulator: RunningEmulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=emulator.url, timeout=60, trust_env=False) as each:
        each.post("/_emulator/reset")
        yield each
        each.put("/_emulator/jwks", json={"keys": [KEY.published]})


def test_keys_are_public_and_hold_no_private_part(client: httpx.Client) -> None:
    answer = client.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "public, max-age=600"
    [key] = answer.json()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    assert (key["key_ops"], key["kid"]) == (["verify"], KEY.kid)
    assert "d" not in key
    assert client.post(PATH).status_code == 405


def test_keys_are_rotated(client: httpx.Client) -> None:
    new = SigningKey()
    assert client.put("/_emulator/jwks", json={"keys": [KEY.published, new.published]}).json() == {"published": 2}
    assert [key["kid"] for key in client.get(PATH).json()["keys"]] == [KEY.kid, new.kid]
    bad: object
    for bad in ([], {"keys": {}}, 7):
        assert client.put("/_emulator/jwks", json=bad).status_code == 400
    assert client.put("/_emulator/jwks", content=b"{").status_code == 400


def test_answers_are_scripted_and_logged_like_those_of_storage(client: httpx.Client) -> None:
    script = [{"on": "jwks", "status": 503}, {"on": "jwks", "body": "abc", "drip_seconds": 0.001}]
    assert client.post("/_emulator/script", json=script).json() == {"scripted": 2}
    assert client.get(PATH).status_code == 503
    dripped = client.get(PATH)
    assert (dripped.text, dripped.headers["content-length"]) == ("abc", "3")
    assert client.get(PATH).json()["keys"]
    log = client.get("/_emulator/requests").json()["requests"]
    assert [(each["on"], each["status"]) for each in log] == [("jwks", 503), ("jwks", 200), ("jwks", 200)]


def test_an_older_project_publishes_no_key(storage_database_url: str, tmp_path: Path) -> None:
    with running_emulator(storage_database_url, tmp_path) as older:
        assert httpx.get(f"{older.url}{PATH}", timeout=60, trust_env=False).json() == {"keys": []}


def test_a_script_for_any_request_leaves_the_keys_alone(client: httpx.Client) -> None:
    """An outage of Storage in a test is not used up by a process that reads keys meanwhile."""
    client.post("/_emulator/script", json=[{"on": "any", "status": 503}])
    assert client.get(PATH).status_code == 200
    assert client.get("/storage/v1/bucket").status_code == 503
