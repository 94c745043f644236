"""Doctor through pgbouncer: it tells a direct connection, a session pooler and a transaction pooler apart."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from devstack.stack.ports import free_port
from tests.doctor.fixture import Doctor, clean_doctor
from tests.outside.conftest import install
from tests.waiting import wait_for

PGBOUNCER = Path("/usr/sbin/pgbouncer")
CONFIG = """\
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
logfile = {folder}/log
pidfile = {folder}/pid
"""
STOP_SECONDS = 60


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    with clean_doctor(capsys, monkeypatch) as clean:
        yield clean


@contextmanager
def pooled(url: str, mode: str) -> Iterator[str]:
    """The same database through a pooler of its own."""
    install("pgbouncer", PGBOUNCER)
    facts = psycopg.conninfo.conninfo_to_dict(url)
    with TemporaryDirectory(prefix="pgbouncer-") as name:
        folder, port = Path(name), free_port()
        server = f"host={facts['host']} port={facts['port']} user=postgres"
        file = folder / "pgbouncer.ini"
        file.write_text(CONFIG.format(server=server, port=port, mode=mode, folder=folder))
        subprocess.run(["chown", "-R", "postgres", name], check=True, timeout=STOP_SECONDS)
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        process = subprocess.Popen([*user, str(PGBOUNCER), "--quiet", str(file)], cwd=folder)
        through = f"postgresql://postgres@127.0.0.1:{port}/{facts['dbname']}"
        try:
            wait_for(lambda: answers(through), what="PgBouncer")
            yield through
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_transaction_pooler_works_but_loses_listen(doctor: Doctor, database_url: str) -> None:
    with pooled(database_url, "transaction") as through:
        doctor.set(DATABASE_URL=through, DATABASE_LISTEN_URL=database_url)
        good = doctor()
        assert (good.code, good.failed) == (0, [])
        assert "through a transaction pooler" in good.sentence("database")
        assert "arrived" in good.sentence("listen")
        doctor.set(DATABASE_LISTEN_URL=through)
        broken = doctor()
        assert (broken.code, broken.failed) == (1, ["listen"])
        assert "goes through a transaction pooler, which does not support LISTEN" in broken.sentence("listen")
        assert "port 5432" in broken.sentence("listen")


def test_a_session_pooler_keeps_listen(doctor: Doctor, database_url: str) -> None:
    with pooled(database_url, "session") as through:
        doctor.set(DATABASE_URL=database_url, DATABASE_LISTEN_URL=through)
        result = doctor()
        assert (result.code, result.failed) == (0, [])
        assert "direct connection" in result.sentence("database")
        doctor.set(DATABASE_URL=through)
        assert "through a session pooler" in doctor().sentence("database")
