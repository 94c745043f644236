"""Debian's PostgreSQL 15, or the version that POSTGRESQL names, in place of the embedded server.

PGMQ comes from the SQL of its package.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from devstack.stack.ports import free_port
from superstoryboard.db.migrate import migrate
from tests.conftest import KV_TABLE, TEMPLATE, admin

MAJOR = os.environ.get("POSTGRESQL", "15")
BINARIES = Path(f"/usr/lib/postgresql/{MAJOR}/bin")
OPTIONS = "-c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
COMMAND_SECONDS = 300


class DebianPostgres:
    """A server of Debian's package on a folder and port of its own."""

    def __init__(self, folder: Path, options: str = "") -> None:
        self._folder = folder
        self._options = options
        self.port = free_port()

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        _run(["chown", "postgres", str(self._folder)])
        self._as_postgres("initdb", "-D", "data", "-A", "trust", "--encoding=UTF8", "--locale=C.UTF-8")
        options = f"{OPTIONS} -p {self.port} -k {self._folder} {self._options}"
        self._as_postgres("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self._as_postgres("pg_ctl", "-D", "data", "-m", "fast", "stop")

    def _as_postgres(self, program: str, *arguments: str) -> None:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        _run([*user, str(BINARIES / program), *arguments], cwd=self._folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[DebianPostgres]:
    """PostgreSQL, installed first where it is missing (needs root)."""
    install(f"postgresql-{MAJOR}", BINARIES)
    with TemporaryDirectory(prefix=f"postgresql-{MAJOR}-") as folder:
        server = DebianPostgres(Path(folder))
        server.start()
        admin(server, f"create database {TEMPLATE}")
        migrate(server.url_of(TEMPLATE), kv_table=KV_TABLE)
        yield server
        server.stop()


def install(package: str, part: Path) -> None:
    """Install a package of Debian where a part of it is missing."""
    if not part.exists():
        _run(["apt-get", "update"])
        _run(["apt-get", "install", "--yes", "--no-install-recommends", package])


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, timeout=COMMAND_SECONDS, check=False)
    assert done.returncode == 0, command
