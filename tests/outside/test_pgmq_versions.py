"""The suites with PGMQ as an extension, as hosted Supabase has it, in every version whose SQL can be had.

PyPI's package carries that of 1.13 and of 1.11. For others, such as 1.4.4 and 1.5.1 of hosted projects, put the SQL of
the release into a folder as `pgmq--VERSION.sql` and name the folder in PGMQ_SQL_FOLDER.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import psycopg
import pytest
from pgmq.install import get_embedded_install_sql

from devstack.stack.postgres import Postgres
from superstoryboard.db.migrate import migrate
from tests.conftest import KV_TABLE, TEMPLATE, admin
from tests.integration.test_accepts import *  # noqa: F403 - the same tests on another PGMQ
from tests.integration.test_calls import *  # noqa: F403
from tests.integration.test_events import *  # noqa: F403
from tests.integration.test_gates import *  # noqa: F403
from tests.integration.test_links import *  # noqa: F403
from tests.integration.test_migrations import *  # noqa: F403
from tests.integration.test_retry import *  # noqa: F403
from tests.integration.test_steering import *  # noqa: F403
from tests.integration.test_supabase_rls import *  # noqa: F403
from tests.integration.test_sweep import *  # noqa: F403
from tests.integration.test_sweep_history import *  # noqa: F403
from tests.integration.test_transitions import *  # noqa: F403
from tests.integration.test_worker_loop import *  # noqa: F403

CONTROL = "comment = 'PGMQ'\ndefault_version = '{version}'\nrelocatable = false\nschema = 'pgmq'\nsuperuser = false\n"
PACKAGES = {"1.11.1": "pgmq==1.1.3"}
GIVEN = {
    path.stem.partition("--")[2]: path
    for path in Path(os.environ.get("PGMQ_SQL_FOLDER", "/nowhere")).glob("pgmq--*.sql")
}
DOWNLOAD_SECONDS = 120


def sql_of(version: str, folder: Path) -> str:
    """The SQL of one version: given, of a package of that time, or of the package that we use."""
    if version in GIVEN:
        return GIVEN[version].read_text()
    if version in PACKAGES:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, PACKAGES[version]], check=True, timeout=DOWNLOAD_SECONDS)
        (wheel,) = folder.glob("pgmq-*.whl")
        return ZipFile(wheel).read("pgmq/sql/pgmq.sql").decode()
    return str(get_embedded_install_sql())


@pytest.fixture(scope="module", params=[*sorted(GIVEN), *PACKAGES, "1.13.0"])
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """PostgreSQL 18 that has this version as an extension and nothing else."""
    version = request.param
    with TemporaryDirectory(prefix="postgres-pgmq-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        extension = folder / "share" / "extension"
        extension.mkdir(parents=True)
        (extension / "pgmq.control").write_text(CONTROL.format(version=version))
        (extension / f"pgmq--{version}.sql").write_text(sql_of(version, folder))
        settings = {
            "fsync": "off",
            "max_connections": "200",
            "extension_control_path": f"$system:{folder / 'share'}",
        }
        with Postgres(folder / "server", settings=settings) as server:
            admin(server, f"create database {TEMPLATE}")
            done = migrate(server.url_of(TEMPLATE), kv_table=KV_TABLE)
            assert not [line for line in done if "Installed PGMQ" in line]
            yield server


def test_the_extension_is_what_answers(sql: psycopg.Connection, request: pytest.FixtureRequest) -> None:
    record = sql.execute("select extversion from pg_extension where extname = 'pgmq'").fetchone()
    assert record is not None
    assert f"[{record[0]}]" in request.node.name
