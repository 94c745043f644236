"""A database that demands TLS: the CA is checked, the name too, and the log says which of them is wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from structlog.testing import capture_logs

from devstack.stack.certificates import Authority
from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.migrate import migrate
from tests.conftest import KV_TABLE, TEMPLATE, admin
from tests.outside.conftest import DebianPostgres

AWAY = "The database is unavailable; waiting for it"
ONLY_TLS = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="authority-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def url(postgres: DebianPostgres, folder: Path, authority: Authority) -> Iterator[str]:
    """A migrated database of a server that takes nobody without TLS, without the parameters of a client."""
    del postgres  # which has installed the package
    certificate = authority.issue("postgres", "127.0.0.1")
    subprocess.run(["chown", "postgres", str(certificate.certificate), str(certificate.key)], check=True, timeout=60)
    certificate.key.chmod(0o600)
    files = f"-c ssl_cert_file={certificate.certificate} -c ssl_key_file={certificate.key}"
    (folder / "hba").write_text(ONLY_TLS)
    with TemporaryDirectory(prefix="postgresql-tls-") as data:
        server = DebianPostgres(Path(data), f"-c ssl=on {files} -c hba_file={folder / 'hba'}")
        server.start()
        try:
            admin(server, f"create database {TEMPLATE}")
            yield server.url_of(TEMPLATE)
        finally:
            server.stop()


def verified(url: str, certificate: Path) -> str:
    return f"{url}?sslmode=verify-full&sslrootcert={certificate}"


async def refused(url: str) -> str:
    """Why a process that waits for this database says it waits."""
    database = await Database.connect(url, name="test", pool_size=1)
    with capture_logs() as logs, pytest.raises(DatabaseUnavailableError):
        await database.fetch("select 1")
    await database.aclose()
    (line,) = [line for line in logs if line["event"] == AWAY]
    return str(line["reason"])


async def test_migrations_and_statements_run_over_verified_tls(url: str, authority: Authority) -> None:
    migrate(verified(url, authority.certificate), kv_table=KV_TABLE)
    database = await Database.connect(verified(url, authority.certificate), name="test")
    row = await database.fetch_one("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()")
    assert (row["ssl"], row["version"]) == (True, "TLSv1.3")
    await database.aclose()


async def test_the_wrong_authority_is_refused_and_said(url: str, folder: Path) -> None:
    stranger = Authority(folder / "stranger")
    assert await refused(verified(url, stranger.certificate)) == "its certificate is not signed by sslrootcert's CA"


async def test_the_wrong_name_is_refused_and_said(url: str, authority: Authority) -> None:
    other = verified(url, authority.certificate).replace("127.0.0.1", "localhost")
    assert await refused(other) == "its certificate names a different host"


async def test_a_connection_without_tls_is_refused_and_said(url: str) -> None:
    assert (
        await refused(f"{url}?sslmode=disable")
        == "it rejects this user, address or connection without TLS (pg_hba.conf)"
    )
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"{url}?sslmode=disable").close()
