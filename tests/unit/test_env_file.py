"""The file .env: the nearest one is read, the environment wins, and what is not ours is not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from superstoryboard.config.env_file import EnvFileError, load_env_file, load_or_exit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory two levels below `tmp_path`."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return inner


def loaded(**environment: str) -> dict[str, str]:
    load_env_file(environment)
    return environment


def test_the_nearest_file_is_read_and_only_that(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KV_TABLE=far\nLOG_LEVEL=debug\n")
    assert loaded() == {"KV_TABLE": "far", "LOG_LEVEL": "debug"}
    (folder / ".env").write_text("KV_TABLE=near\n")
    assert loaded() == {"KV_TABLE": "near"}


def test_the_environment_wins_whatever_the_name_of_a_setting(folder: Path) -> None:
    (folder / ".env").write_text(
        "KV_TABLE=file\nSUPABASE_SECRET_KEY=file\nDATABASE_URL=file\nAMQP_URL=file\nSUPABASE_STAGING_KEY=file\n"
    )
    environment = {
        "KV_TABLE": "shell",
        "SUPABASE_SERVICE_KEY": "shell",
        "DATABASE_URL_FILE": "/run/secrets/url",
        "AMQP_URL": "",
    }
    assert loaded(**environment) == environment | {"AMQP_URL": "file", "SUPABASE_STAGING_KEY": "file"}


def test_values_stay_as_they_are_written(folder: Path) -> None:
    (folder / ".env").write_text(
        "# a comment\nexport DATABASE_URL='postgresql://u:p$w${x}#1@h/d'\nKV_TABLE=\nLOG_LEVEL=info # why\n"
    )
    assert loaded() == {"DATABASE_URL": "postgresql://u:p$w${x}#1@h/d", "LOG_LEVEL": "info"}


def test_a_file_can_be_named_or_none(folder: Path, tmp_path: Path) -> None:
    (folder / ".env").write_text("KV_TABLE=near\n")
    named = tmp_path / "other"
    named.write_text("KV_TABLE=named\n")
    assert loaded(ENV_FILE=str(named))["KV_TABLE"] == "named"
    assert "KV_TABLE" not in loaded(ENV_FILE="")
    with pytest.raises(EnvFileError, match="cannot be read"):
        loaded(ENV_FILE=str(tmp_path))
    with pytest.raises(EnvFileError, match="cannot be read"):
        loaded(ENV_FILE=str(tmp_path / "nothing"))


def test_a_process_ends_with_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENV_FILE", str(folder / "nothing"))
    with pytest.raises(SystemExit) as raised:
        load_or_exit()
    assert raised.value.code == 2
    assert capsys.readouterr().err.startswith("The settings are not valid:\n")


def test_a_file_of_another_user_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("KV_TABLE=trap\n")
    if os.geteuid() == 0:
        os.chown(folder / ".env", 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(EnvFileError, match="belongs to another user"):
        loaded()
