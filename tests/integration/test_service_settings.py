"""Settings as the processes read them: from the environment, from the file .env, and said by --check-config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import base_env
from tests.unit.test_settings import COMPLETE, KINDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory two levels below `tmp_path`."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return inner


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in base_env().items() if name != "ENV_FILE"} | environment
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("service", ["ingest", "image_worker", "video_worker", "asset_writer"])
def test_services_read_it(folder: Path, service: str) -> None:
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in COMPLETE.items()))
    good = run(folder, f"superstoryboard.services.{service}", "--check-config")
    assert (good.returncode, good.stdout) == (0, "The settings are valid.\n"), good.stderr
    wrong = run(folder, f"superstoryboard.services.{service}", "--check-config", LOG_LEVEL="loud")
    assert wrong.returncode == 2
    assert f"from the environment and {folder / '.env'}" in wrong.stderr
    assert run(folder, f"superstoryboard.services.{service}", "--check-config", ENV_FILE="").returncode == 2


def test_the_command_line_reads_it(folder: Path) -> None:
    (folder / ".env").write_text("DATABASE_URL=no-address\n")
    assert "Set DATABASE_URL" in run(folder, "storyboard", "migrate", ENV_FILE="").stderr
    assert "Set DATABASE_URL" not in run(folder, "storyboard", "migrate").stderr


def test_the_example_can_be_copied_as_it_is(folder: Path) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    filled = [f"{line}{COMPLETE[line[:-1]]}" if line[:-1] in COMPLETE else line for line in lines]
    (folder / ".env").write_text("\n".join(filled))
    for service in ("ingest", "image_worker", "video_worker", "asset_writer"):
        assert run(folder, f"superstoryboard.services.{service}", "--check-config").returncode == 0


@pytest.mark.parametrize("service", KINDS)
def test_check_config_says_yes_or_names_what_is_wrong(service: str) -> None:
    command = [sys.executable, "-m", f"services.{service}", "--check-config"]
    good = subprocess.run(command, env=base_env() | COMPLETE, capture_output=True, text=True, timeout=60, check=False)
    assert (good.returncode, good.stdout) == (0, "The settings are valid.\n")
    bad = subprocess.run(command, env=base_env(), capture_output=True, text=True, timeout=60, check=False)
    assert bad.returncode == 2
    assert "DATABASE_URL" in bad.stderr
