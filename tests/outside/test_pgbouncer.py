"""The same suites through pgbouncer in transaction mode, as behind Supabase's port 6543; only LISTEN goes directly."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from devstack.stack.ports import free_port
from superstoryboard.db.database import Database
from superstoryboard.db.migrate import migrate, read_migrations
from tests.conftest import KV_TABLE
from tests.integration.test_accepts import *  # noqa: F403 - the same tests through the pooler
from tests.integration.test_calls import *  # noqa: F403
from tests.integration.test_events import *  # noqa: F403
from tests.integration.test_gates import *  # noqa: F403
from tests.integration.test_links import *  # noqa: F403
from tests.integration.test_retry import *  # noqa: F403
from tests.integration.test_steering import *  # noqa: F403
from tests.integration.test_sweep import *  # noqa: F403
from tests.integration.test_sweep_history import *  # noqa: F403
from tests.integration.test_transitions import *  # noqa: F403
from tests.integration.test_worker_loop import *  # noqa: F403
from tests.outside.conftest import DebianPostgres, install
from tests.running import base_env
from tests.waiting import wait_for

PGBOUNCER = Path("/usr/sbin/pgbouncer")
# Fewer connections to the server than clients have open: what a session kept would be another's in a moment.
CONFIG = """\
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 300
logfile = {folder}/log
pidfile = {folder}/pid
"""
SESSION_SECONDS = 60


class Pooler:
    """pgbouncer in front of a server."""

    def __init__(self, server: DebianPostgres, folder: Path) -> None:
        self._port = free_port()
        self._file = folder / "pgbouncer.ini"
        self._file.write_text(CONFIG.format(server=server.port, port=self._port, folder=folder))
        subprocess.run(["chown", "-R", "postgres", str(folder)], check=True, timeout=SESSION_SECONDS)
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        self._process = subprocess.Popen([*user, str(PGBOUNCER), "--quiet", str(self._file)], cwd=folder)
        wait_for(self._answers, what="PgBouncer")

    def through(self, url: str) -> str:
        """The same database through the pooler."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{url.rpartition('/')[2]}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(SESSION_SECONDS)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.through("/postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="module")
def pooler(postgres: DebianPostgres) -> Iterator[Pooler]:
    install("pgbouncer", PGBOUNCER)
    with TemporaryDirectory(prefix="pgbouncer-") as folder:
        started = Pooler(postgres, Path(folder))
        yield started
        started.stop()


@pytest.fixture
async def database(database_url: str, pooler: Pooler) -> AsyncIterator[Database]:
    """In place of the direct one: everything that the product does goes through the pooler."""
    opened = await Database.connect(pooler.through(database_url), name="test", pool_size=20)
    yield opened
    await opened.aclose()


async def test_the_server_serves_fewer_sessions_than_there_are_clients(database: Database) -> None:
    slow = "select pg_backend_pid() as pid, pg_sleep(0.05)"
    rows = await asyncio.gather(*(database.fetch_one(slow) for _ in range(40)))
    assert len({row["pid"] for row in rows}) <= 5


def test_four_migrations_at_once_through_the_pooler(empty_database_url: str, pooler: Pooler) -> None:
    url = pooler.through(empty_database_url)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: migrate(url, kv_table=KV_TABLE), range(4)))
    applied = [line for lines in done for line in lines if line.startswith("Applied")]
    assert len(applied) == len(set(applied)) == len(read_migrations())


def test_the_command_migrates_through_the_pooler(empty_database_url: str, pooler: Pooler) -> None:
    environment = base_env() | {"DATABASE_URL": pooler.through(empty_database_url)}
    command = [sys.executable, "-m", "storyboard", "migrate"]
    for last in ("Applied", "Nothing to do: the schema is up to date."):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert last in done.stdout
