"""Settings: typed, checked at start, secrets from files, never printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.asset_writer.settings import AssetWriterSettings
from services.image_worker.settings import ImageWorkerSettings
from services.ingest.settings import IngestSettings
from services.video_worker.polling import GONE_ANSWERS, Times
from services.video_worker.settings import VideoWorkerSettings
from services.video_worker.wiring import times
from superstoryboard.config.settings import Settings, SettingsError

COMPLETE = {
    "DATABASE_URL": "postgresql://db",
    "SUPABASE_JWT_SECRET": "a-jwt-secret-of-at-least-32-bytes",
    "SUPABASE_URL": "http://127.0.0.1:1",
    "SUPABASE_SECRET_KEY": "storage-secret",
    "SUPABASE_STAGING_KEY": "staging-secret",
    "GOOGLE_GENERATIVE_AI_API_KEY": "google-secret",
}
KINDS = {
    "ingest": IngestSettings,
    "image_worker": ImageWorkerSettings,
    "video_worker": VideoWorkerSettings,
    "asset_writer": AssetWriterSettings,
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*COMPLETE, "GRPC_LISTEN", "AUTH_DISABLED", "AMQP_URL", "DATABASE_LISTEN_URL", "DRAIN_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_defaults_are_complete_and_secrets_do_not_show(kind: type[Settings]) -> None:
    settings = kind.read()
    assert "secret" not in repr(settings).replace("_secret", "").replace("secret_", "")


def test_every_missing_and_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("IMAGE_CONCURRENCY", "many-4711")
    with pytest.raises(SettingsError) as caught:
        ImageWorkerSettings.read()
    assert "DATABASE_URL" in str(caught.value)
    assert "IMAGE_CONCURRENCY" in str(caught.value)
    assert "4711" not in str(caught.value)


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", "")
    monkeypatch.setenv("IMAGE_CONCURRENCY", "")
    settings = ImageWorkerSettings.read()
    assert settings.amqp_url is None
    assert settings.image_concurrency == 5


def test_a_secret_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    monkeypatch.setenv("SUPABASE_SECRET_KEY_FILE", str(file))
    assert AssetWriterSettings.read().supabase_secret_key.get_secret_value() == "from-a-file"


def test_a_missing_secret_file_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    monkeypatch.setenv("SUPABASE_SECRET_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(SettingsError, match="cannot be read"):
        AssetWriterSettings.read()


@pytest.mark.parametrize("name", ["SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SERVICE_KEY"])
def test_older_names_of_the_storage_key_are_accepted(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    monkeypatch.setenv(name, "older")
    assert AssetWriterSettings.read().supabase_secret_key.get_secret_value() == "older"


@pytest.mark.parametrize("kind", [IngestSettings, ImageWorkerSettings, VideoWorkerSettings])
def test_a_catalogue_or_model_that_does_not_exist_is_said(
    kind: type[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "VIDEO_MODEL" if kind is not ImageWorkerSettings else "IMAGE_MODEL"
    monkeypatch.setenv(name, "unheard-of")
    with pytest.raises(SettingsError, match=f"{name}: the catalogue has no"):
        kind.read()
    monkeypatch.setenv("MODEL_CATALOGUE", str(tmp_path / "nothing.toml"))
    with pytest.raises(SettingsError, match=r"MODEL_CATALOGUE: the catalogue .*cannot be read"):
        kind.read()


def test_a_video_worker_needs_no_key_of_a_route_that_it_does_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_GENERATIVE_AI_API_KEY")
    monkeypatch.setenv("GOOGLE_VERTEX_PROJECT", "my-project")
    assert VideoWorkerSettings.read().google_vertex_project == "my-project"
    with pytest.raises(SettingsError, match="GOOGLE_GENERATIVE_AI_API_KEY"):
        ImageWorkerSettings.read()


def test_authentication_is_off_only_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_DISABLED", "true")
    assert IngestSettings.read().auth_disabled
    monkeypatch.setenv("GRPC_LISTEN", "0.0.0.0:50051")
    with pytest.raises(SettingsError, match="loopback"):
        IngestSettings.read()
    monkeypatch.delenv("AUTH_DISABLED")
    monkeypatch.delenv("SUPABASE_JWT_SECRET")
    assert IngestSettings.read().jwks_url() == "http://127.0.0.1:1/auth/v1/.well-known/jwks.json"
    monkeypatch.delenv("SUPABASE_URL")
    with pytest.raises(SettingsError, match="SUPABASE_JWT_SECRET is required"):
        IngestSettings.read()


@pytest.mark.parametrize(
    "name",
    [
        "JOB_MAX_AGE_DAYS",
        "RETENTION_EVENTS_DAYS",
        "RETENTION_JOBS_DAYS",
        "RETENTION_ARCHIVE_DAYS",
        "RETENTION_DEAD_LETTERS_DAYS",
    ],
)
@pytest.mark.parametrize("value", ["inf", "1e300", "999999999", "36501"])
def test_an_age_that_the_database_cannot_count_back_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}: .*36500"):
        IngestSettings.read()


def test_ages_may_be_fractions_and_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_JOBS_DAYS", "36500")
    monkeypatch.setenv("RETENTION_EVENTS_DAYS", "0.5")
    ages = IngestSettings.read().ages()
    assert (ages.jobs.days, ages.events.total_seconds()) == (36500, 43200)


def test_a_signed_url_ends_within_a_century(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNED_URL_SECONDS", "999999999999")
    with pytest.raises(SettingsError, match="SIGNED_URL_SECONDS"):
        AssetWriterSettings.read()


@pytest.mark.parametrize("kind", [ImageWorkerSettings, VideoWorkerSettings, AssetWriterSettings])
@pytest.mark.parametrize("path", ["/rest/v1", "/storage/v1/", "/project", "?a=b"])
def test_a_project_address_with_a_path_is_refused_with_the_right_form(
    kind: type[Settings], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_URL", f"https://user:pass@project.supabase.co:8443{path}")
    with pytest.raises(SettingsError, match=r"SUPABASE_URL: .*set it to https://project.supabase.co:8443$") as caught:
        kind.read()
    assert "pass" not in str(caught.value)


def test_a_project_address_loses_its_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "https://project.supabase.co/")
    monkeypatch.setenv("SUPABASE_PUBLIC_URL", "https://cdn.example.com/media/")
    settings = AssetWriterSettings.read()
    assert (settings.supabase_url, settings.supabase_public_url) == (
        "https://project.supabase.co",
        "https://cdn.example.com/media",
    )
    monkeypatch.setenv("SUPABASE_PUBLIC_URL", "https://project.supabase.co/storage/v1")
    with pytest.raises(SettingsError, match="SUPABASE_PUBLIC_URL"):
        AssetWriterSettings.read()
    for address in ("no-url", "https://[broken", "https://host:port"):
        monkeypatch.setenv("SUPABASE_PUBLIC_URL", address)
        with pytest.raises(SettingsError, match="not an http or https URL"):
            AssetWriterSettings.read()


@pytest.mark.parametrize("fields", [",", "owner,owner", ",".join("abcdefghijklmnopqrstuvwxyz")])
def test_owner_fields_are_a_few_names(monkeypatch: pytest.MonkeyPatch, fields: str) -> None:
    monkeypatch.setenv("OWNER_FIELDS", fields)
    with pytest.raises(SettingsError, match="OWNER_FIELDS: must be 1 to"):
        IngestSettings.read()


@pytest.mark.parametrize("kind", KINDS.values())
def test_a_secret_that_can_be_guessed_is_refused(kind: type[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_JWT_SECRET", "x" * 31)
    with pytest.raises(SettingsError, match="SUPABASE_JWT_SECRET is shorter than 32 bytes"):
        kind.read()
    monkeypatch.setenv("SUPABASE_JWT_SECRET", "x" * 32)
    kind.read()


def test_a_drain_that_would_cut_a_paid_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAIN_SECONDS", "99")
    monkeypatch.setenv("IMAGE_TIMEOUT_SECONDS", "90")
    with pytest.raises(SettingsError, match=r"DRAIN_SECONDS: .*IMAGE_TIMEOUT_SECONDS"):
        ImageWorkerSettings.read()
    monkeypatch.setenv("DRAIN_SECONDS", "")
    monkeypatch.setenv("IMAGE_TIMEOUT_SECONDS", "200")
    with pytest.raises(SettingsError, match="DRAIN_SECONDS"):
        ImageWorkerSettings.read()
    monkeypatch.setenv("DRAIN_SECONDS", "69")
    with pytest.raises(SettingsError, match=r"DRAIN_SECONDS: .*longest submit"):
        VideoWorkerSettings.read()
    monkeypatch.setenv("DRAIN_SECONDS", "70")
    assert VideoWorkerSettings.read().drain_seconds == 70


@pytest.mark.parametrize("value", ["inf", "1e12", "2000001"])
def test_a_time_that_no_timer_or_date_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    names = ("RETENTION_JOBS_DAYS", "GRPC_CONNECTION_AGE_SECONDS", "DRAIN_SECONDS")
    for name in names:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GRPC_MAX_CONNECTIONS", "99999999999")
    with pytest.raises(SettingsError) as refused:
        IngestSettings.read()
    assert {line.partition(":")[0] for line in str(refused.value).splitlines()} == {*names, "GRPC_MAX_CONNECTIONS"}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_the_drain_times_are_those_that_the_example_names(name: str, kind: type[Settings]) -> None:
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    assert f"{name} {kind.read().model_dump()['drain_seconds']:g}" in example


def test_a_loss_is_believed_after_several_answers_over_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert times(VideoWorkerSettings.read()) == Times(
        poll_seconds=10, timeout_seconds=360, max_bytes=100 * 1024 * 1024, gone_seconds=600
    )
    assert GONE_ANSWERS >= 3
    assert AssetWriterSettings.read().writer_doubt_seconds >= 600
    assert ImageWorkerSettings.read().staging_patience_seconds >= 120
    monkeypatch.setenv("VIDEO_GONE_SECONDS", "7")
    assert times(VideoWorkerSettings.read()).gone_seconds == 7
