"""What each process is given: its own secrets and no others, and real systems where they are named."""

import sys

import pytest

from devstack.stack.environments import SERVICES, Environments
from devstack.stack.outside import Outside, OutsideError
from devstack.stack.ports import Ports
from devstack.stack.shell import with_env_option
from devstack.stack.tokens import Secrets

SECRETS = Secrets(
    jwt="jwt-secret",
    google_key="google-key",
    storage_secret_key="secret-key",
    storage_staging_key="staging-key",
    storage_anon_key="anon-key",
)
HOLDERS = {
    "jwt-secret": set(SERVICES),
    "google-key": {"image_worker", "video_worker"},
    "staging-key": {"image_worker", "video_worker"},
    "secret-key": {"asset_writer"},
    "anon-key": set(),
    "amqp://broker/": {"image_worker", "video_worker", "asset_writer"},
    "postgresql://own/": set(SERVICES),
}


def environments(outside: Outside | None = None, **settings: str) -> Environments:
    return Environments(
        ports=Ports(),
        secrets=SECRETS,
        outside=outside or Outside(),
        database_url="postgresql://own/",
        amqp_url="amqp://broker/",
        settings=settings,
    )


@pytest.mark.parametrize(("secret", "holders"), HOLDERS.items())
def test_each_secret_reaches_only_its_holders(secret: str, holders: set[str]) -> None:
    made = environments()
    assert {service for service in SERVICES if secret in made.of(service).values()} == holders


def test_nothing_of_our_own_environment_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "from-the-shell")
    monkeypatch.setenv("AUTH_DISABLED", "true")
    for service in SERVICES:
        env = environments().of(service)
        assert "from-the-shell" not in env.values()
        assert "AUTH_DISABLED" not in env


def test_the_emulated_provider_is_fast_and_own_settings_win() -> None:
    env = environments(IMAGE_LEASE_SECONDS="3").of("image_worker")
    assert env["IMAGE_LEASE_SECONDS"] == "3"
    assert env["VIDEO_POLL_SECONDS"] == "1"
    assert env["GOOGLE_GEMINI_BASE_URL"] == "http://127.0.0.1:58080"
    assert env["DATABASE_LISTEN_URL"] == "postgresql://own/"


def test_a_real_google_keeps_its_address_and_its_limits() -> None:
    outside = Outside.read({"GOOGLE_GENERATIVE_AI_API_KEY": "real", "IMAGE_REQUESTS_PER_MINUTE": "30"})
    made = environments(outside)
    env = made.of("image_worker")
    assert made.google_url is None
    assert env["GOOGLE_GENERATIVE_AI_API_KEY"] == "real"
    assert env["IMAGE_REQUESTS_PER_MINUTE"] == "30"
    assert not {"GOOGLE_GEMINI_BASE_URL", "VIDEO_POLL_SECONDS", "VIDEO_MODEL"} & env.keys()


def test_the_emulator_is_never_shown_a_real_account() -> None:
    shell = {"GOOGLE_VERTEX_PROJECT": "real", "GOOGLE_VERTEX_API_KEY": "real", "GOOGLE_VERTEX_BASE_URL": "https://real"}
    emulated = environments(Outside.read(shell)).of("video_worker")
    assert emulated["GOOGLE_VERTEX_BASE_URL"] == emulated["GOOGLE_GEMINI_BASE_URL"] == "http://127.0.0.1:58080"
    assert emulated["GOOGLE_VERTEX_API_KEY"] == "google-key"
    assert "GOOGLE_VERTEX_PROJECT" not in emulated
    real = environments(Outside.read(shell | {"GOOGLE_GENERATIVE_AI_API_KEY": "key"})).of("video_worker")
    assert {name: real[name] for name in shell} == shell


def test_a_real_supabase_brings_its_keys() -> None:
    given = {"SUPABASE_URL": "https://project.supabase.co", "SUPABASE_SERVICE_ROLE_KEY": "real-secret"}
    given |= {"SUPABASE_ANON_KEY": "real-anon"}
    made = environments(Outside.read(given | {"SUPABASE_STAGING_KEY": "real-staging"}))
    assert made.storage_url == "https://project.supabase.co"
    assert made.of("asset_writer")["SUPABASE_SECRET_KEY"] == "real-secret"
    worker = made.of("video_worker")
    assert (worker["SUPABASE_STAGING_KEY"], worker["SUPABASE_ANON_KEY"]) == ("real-staging", "real-anon")
    assert "real-secret" not in worker.values()


ALL_REAL = {
    "DATABASE_URL": "postgresql://own/",
    "GOOGLE_GENERATIVE_AI_API_KEY": "real",
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_SECRET_KEY": "real-secret",
}


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"GOOGLE_GENERATIVE_AI_API_KEY"}, "but Google would be emulated"),
        ({"SUPABASE_URL"}, "but Storage would be emulated"),
        ({"GOOGLE_GENERATIVE_AI_API_KEY", "SUPABASE_URL"}, "but Google and Storage would be emulated"),
    ],
)
def test_a_real_database_is_refused_beside_an_emulator(missing: set[str], words: str) -> None:
    given = {name: value for name, value in ALL_REAL.items() if name not in missing}
    with pytest.raises(OutsideError, match=words) as caught:
        Outside.read(given)
    assert "postgresql" not in str(caught.value)


def test_a_real_database_is_listened_to_only_where_that_is_named() -> None:
    pooled = Outside.read(ALL_REAL)
    assert environments(pooled).of("ingest")["DATABASE_LISTEN_URL"] == ""
    direct = Outside.read(ALL_REAL | {"DATABASE_LISTEN_URL": "postgresql://direct/"})
    assert environments(direct).of("ingest")["DATABASE_LISTEN_URL"] == "postgresql://direct/"


def test_a_supabase_without_a_key_is_refused() -> None:
    with pytest.raises(OutsideError, match="SUPABASE_SECRET_KEY"):
        Outside.read({"SUPABASE_URL": "https://project.supabase.co"})


def test_free_ports_differ() -> None:
    ports = Ports.free()
    addresses = {ports.address(part) for part in ("ingest", "image_worker", "postgres", "amqp", "google", "storage")}
    assert len(addresses) == 6
    assert not ports.occupied()


def test_the_help_of_the_demo_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/anywhere/devstack/demo/__main__.py", "--help"])
    with pytest.raises(SystemExit):
        with_env_option("The demo.")
    assert capsys.readouterr().out.startswith("usage: python -m devstack.demo [-h]")
