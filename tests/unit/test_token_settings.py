"""Settings of who may call: what must be there, and what is refused at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.ingest.settings import IngestSettings
from superstoryboard.config.settings import SettingsError
from superstoryboard.rpc.claims import ClaimRules

SECRET = "a-jwt-secret-of-at-least-32-bytes"
PROJECT = "https://project.supabase.co"
NAMES = (
    *("SUPABASE_URL", "SUPABASE_PUBLIC_URL", "SUPABASE_JWKS_URL", "SUPABASE_JWKS_FILE", "SUPABASE_JWT_SECRET"),
    *("JWT_ISSUERS", "OWNER_CLAIMS", "ALLOW_ANONYMOUS_USERS", "AUTH_DISABLED", "GRPC_LISTEN"),
)


def read(monkeypatch: pytest.MonkeyPatch, **settings: str) -> IngestSettings:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://db")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return IngestSettings.read()


def test_a_project_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, SUPABASE_URL=PROJECT + "/", SUPABASE_PUBLIC_URL="https://a.example/proxy")
    assert settings.jwks_url() == f"{PROJECT}/auth/v1/.well-known/jwks.json"
    assert settings.issuers() == [f"{PROJECT}/auth/v1", "https://a.example/proxy/auth/v1"]
    assert not ClaimRules.of(settings).issuer_required


def test_keys_may_lie_elsewhere_and_issuers_be_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = "http://auth:9999/.well-known/jwks.json"
    settings = read(monkeypatch, SUPABASE_URL=PROJECT, SUPABASE_JWKS_URL=url, JWT_ISSUERS=" https://b , https://c,")
    assert (settings.jwks_url(), settings.issuers()) == (url, ["https://b", "https://c"])
    assert ClaimRules.of(settings).issuer_required
    file = tmp_path / "jwks.json"
    file.write_text("{}")
    assert read(monkeypatch, SUPABASE_URL=PROJECT, SUPABASE_JWKS_FILE=str(file)).jwks_url() is None


def test_the_secret_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, SUPABASE_JWT_SECRET=SECRET)
    assert (settings.jwks_url(), settings.issuers()) == (None, [])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "SUPABASE_URL .*or SUPABASE_JWT_SECRET is required"),
        ({"SUPABASE_JWKS_URL": "https://auth/jwks"}, "JWT_ISSUERS is required"),
        ({"SUPABASE_JWKS_URL": "https://auth/jwks", "SUPABASE_JWT_SECRET": SECRET}, "JWT_ISSUERS is required"),
        ({"SUPABASE_URL": PROJECT, "SUPABASE_JWKS_URL": "ftp://auth/jwks"}, "SUPABASE_JWKS_URL: .*http"),
        ({"SUPABASE_URL": PROJECT, "SUPABASE_JWKS_URL": "https://u:p@auth/"}, "SUPABASE_JWKS_URL: .*password"),
        ({"SUPABASE_URL": PROJECT, "SUPABASE_JWKS_URL": "https:///jwks"}, "SUPABASE_JWKS_URL: .*http"),
        ({"SUPABASE_URL": PROJECT, "SUPABASE_JWKS_URL": "https://auth:port/"}, "SUPABASE_JWKS_URL: .*http"),
        ({"SUPABASE_URL": PROJECT, "SUPABASE_JWKS_FILE": "/nowhere/jwks.json"}, "SUPABASE_JWKS_FILE: .*cannot be read"),
        (
            {"SUPABASE_URL": PROJECT, "SUPABASE_JWKS_FILE": __file__, "SUPABASE_JWKS_URL": "https://a/"},
            "SUPABASE_JWKS_URL or SUPABASE_JWKS_FILE, not both",
        ),
        ({"SUPABASE_JWT_SECRET": "short"}, "SUPABASE_JWT_SECRET is shorter"),
        ({"SUPABASE_JWT_SECRET": "-----BEGIN PUBLIC KEY-----" + "A" * 99}, "is a key, not a secret"),
        ({"SUPABASE_JWT_SECRET": '{"kty": "EC", "crv": "P-256", "x": "abc", "y": "def"}'}, "is a key, not a secret"),
        ({"SUPABASE_URL": PROJECT, "OWNER_CLAIMS": "sub,user_metadata.team"}, "user_metadata proves nothing"),
        ({"SUPABASE_URL": PROJECT, "OWNER_CLAIMS": "user_metadata"}, "user_metadata proves nothing"),
        ({"SUPABASE_URL": PROJECT, "OWNER_CLAIMS": ","}, "names of claims"),
        ({"SUPABASE_URL": PROJECT, "OWNER_CLAIMS": "app_metadata..id"}, "names of claims"),
        ({"SUPABASE_URL": PROJECT + "/auth/v1"}, "SUPABASE_URL: .*path"),
        ({"AUTH_DISABLED": "true", "GRPC_LISTEN": "0.0.0.0:50051"}, "loopback"),
    ],
    ids=str,
)
def test_what_cannot_work_is_said_at_start(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        read(monkeypatch, **settings)
    assert SECRET not in str(caught.value)


def test_owner_claims_are_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, SUPABASE_URL=PROJECT, OWNER_CLAIMS="sub, app_metadata.user_id")
    assert settings.owner_claim_paths() == (("sub",), ("app_metadata", "user_id"))
