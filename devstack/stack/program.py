"""What it takes to run a child process, and the plain blocking way to run one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .accounts import Account
from .guard import shared_guard

POLL_SECONDS = 0.02
KILL_SECONDS = 10.0
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY")


class StartError(Exception):
    """A program ended, or stayed silent for too long, before it was ready; the message has the end of its log."""


async def always_ready() -> bool:
    """The probe of a program that is ready once it runs."""
    return True


@dataclass(frozen=True, kw_only=True)
class Program:
    """A command, and how to tell that it is ready and how to stop it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    """The whole environment: nothing else reaches the child."""
    cwd: Path | None = None
    account: Account | None = None
    probe: Callable[[], Awaitable[bool]] = always_ready
    """Whether it answers; may raise OSError, which means no."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 30.0
    """How long it may take to stop before it is killed."""
    stage: int = 0
    """Where many programs stop, those of a higher stage stop first."""

    @property
    def identity(self) -> dict[str, Any]:
        """Arguments for subprocess that make the child its user and the leader of its own process group."""
        arguments: dict[str, Any] = {"start_new_session": True}
        if self.account is not None:
            arguments |= {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        return arguments


def base_env() -> dict[str, str]:
    """What every child needs from our environment; never a secret. Loopback is kept away from any web proxy.

    One memory arena for each process instead of one for each core and thread: many small processes share this machine.
    """
    env = {name: os.environ[name] for name in INHERITED if name in os.environ}
    skipped = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    no_proxy = ",".join(filter(None, [skipped, "127.0.0.1,localhost"]))
    # A child's settings are those that it is given: the file .env of whoever started us is not for it.
    return env | {"NO_PROXY": no_proxy, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "1", "ENV_FILE": ""}


class BlockingProcess:
    """Runs a program from code without an event loop; its output goes to a file."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None where it does not run."""
        return self._process.pid if self._process is not None and self._runs() else None

    def start(self, ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Start, and return once it is ready.

        Raises:
            StartError: it ended or did not become ready in time.
        """
        if self._runs():
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.program.argv,
                env=dict(self.program.env),
                cwd=self.program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self.program.identity,
            )
        shared_guard().watch(self._process.pid)
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if not self._runs() or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise StartError(f"{self.program.name} did not become ready:\n{self._tail()}")
            time.sleep(POLL_SECONDS)

    def stop(self, number: signal.Signals | None = None) -> None:
        """Send a signal (by default the program's own) and wait for the end; kill it where that takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self.program.stop_signal if number is None else number)
        try:
            process.wait(timeout=self.program.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=KILL_SECONDS)
        shared_guard().forget(process.pid)

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]
