"""`make secret-scan`: a planted secret is found, in a file or in an old commit, and is not shown."""

from __future__ import annotations

import secrets
import string
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repository.supply import script

LETTERS = string.ascii_letters + string.digits
# Made anew in each run: the repository itself has none.
PLANTED: dict[str, Callable[[], str]] = {
    "Service token": lambda: f"sst_{secrets.token_hex(32)}",
    "Google API key": lambda: "AIza" + "".join(secrets.choice(LETTERS) for _ in range(35)),
    "Supabase key": lambda: "sb_secret_" + "".join(secrets.choice(LETTERS) for _ in range(32)),
    "AWS Access Key": lambda: "AKIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16)),
    "Private Key": lambda: f"-----BEGIN {'PRIVATE KEY'}-----",
    "Basic Auth Credentials": lambda: f"postgresql://storyboard:{secrets.token_hex(8)}@db/postgres",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, timeout=30)


def commit(folder: Path, text: str) -> None:
    (folder / "settings").write_text(text)
    git(folder, "add", "settings")
    git(folder, "commit", "--quiet", "--message=Settings")


def test_every_kind_of_secret_in_a_file_is_found_and_none_is_shown(repository: Path) -> None:
    planted = {kind: make() for kind, make in PLANTED.items()}
    (repository / "untracked").write_text(planted["Service token"])
    commit(repository, "".join(f"KEY={value}\n" for value in planted.values()))
    done = script("scan_secrets.py", "--folder", repository)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{len(planted)} secrets found."
    for number, kind in enumerate(planted, 1):
        assert any(line.startswith(f"settings:{number}: {kind}, SHA-1 ") for line in lines), kind
    assert not any(value in done.stdout for value in planted.values())


def test_a_secret_that_was_removed_is_found_in_the_history(repository: Path) -> None:
    commit(repository, f"TOKEN={PLANTED['Service token']()}\n")
    commit(repository, "TOKEN=\n")
    assert script("scan_secrets.py", "--folder", repository).returncode == 0
    done = script("scan_secrets.py", "--folder", repository, "--history")
    assert (done.returncode, done.stdout.startswith("commit ")) == (1, True)
    assert ": Service token, SHA-1 " in done.stdout


def test_examples_are_no_secrets(repository: Path) -> None:
    commit(repository, "DATABASE_URL=postgresql://postgres:postgres@127.0.0.1:5432/postgres\n")
    assert script("scan_secrets.py", "--folder", repository).returncode == 0


def test_this_repository_has_none() -> None:
    done = script("scan_secrets.py")
    assert done.returncode == 0, done.stdout
