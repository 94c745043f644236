"""Applies the files of migrations/ in order, all in one transaction, under a lock that works through a pooler."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import psycopg
from pgmq.install import get_embedded_install_sql
from psycopg import Connection, sql
from psycopg.errors import Diagnostic

from superstoryboard.db.migration_obstacles import obstacles

_PACKAGE = Path(__file__).resolve().parents[1]
# Installed, the files lie in the package; in a checkout and in the image beside it.
_INSTALLED = _PACKAGE / "migrations"
MIGRATIONS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"
LOCK = 0x5342_4D49
CONNECT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 30
"""How long a table that somebody else holds is waited for: whoever comes after us waits for us meanwhile."""
STAGING_BUCKET = "artifact-staging"
NOTHING_CHANGED = "Nothing was changed. Correct this and run `storyboard migrate` again."


class MigrationError(Exception):
    """A migration cannot be applied: a file that was applied has changed since, or the server refuses."""


@dataclass(frozen=True)
class Migration:
    """One file: its version (the digits in front), its name and the SHA-256 of its text."""

    version: str
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, lower-case hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """All migrations of a folder in the order in which they are applied.

    Raises:
        MigrationError: there is none, as after an incomplete installation.
    """
    files = sorted(folder.glob("[0-9]*_*.sql"))
    if not files:
        raise MigrationError(f"{folder} has no migrations: the installation is incomplete. Reinstall the package.")
    return [Migration(file.stem.partition("_")[0], file.stem.partition("_")[2], file.read_text()) for file in files]


def migrate(
    database_url: str, *, kv_table: str, anon_may_send: bool = False, staging_bucket: str = STAGING_BUCKET
) -> list[str]:
    """Bring a database to the present schema and say what was done, one sentence each.

    All in one transaction under its advisory lock: a migration that fails leaves nothing behind and can be repeated,
    and of two at once the second finds the work done.

    Raises:
        MigrationError: an applied file has changed, something is in the way, or the server refuses a statement.
        psycopg.Error: the database cannot be reached, or refuses something that no file asks for.
    """
    options = {"autocommit": False, "prepare_threshold": None, "connect_timeout": CONNECT_TIMEOUT_SECONDS}
    warnings: list[str] = []
    with (
        psycopg.connect(database_url, **options) as connection,  # type: ignore[arg-type]  # kwargs of libpq
        connection.transaction(),
    ):
        connection.add_notice_handler(lambda notice: _note(warnings, notice))
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        connection.execute("select set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT_SECONDS}s",))
        done = _prepare(connection)
        for migration in read_migrations():
            done += _apply(connection, migration)
        done += _settle(connection, kv_table, anon_may_send=anon_may_send)
        done += _allow_staging(connection, staging_bucket)
    return done + warnings or ["Nothing to do: the schema is up to date."]


def _note(warnings: list[str], notice: Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING" and notice.message_primary:
        warnings.append(notice.message_primary)


def _prepare(connection: Connection) -> list[str]:
    problems = obstacles(connection)
    if problems:
        raise MigrationError("\n".join([*problems, NOTHING_CHANGED]))
    done = _install_pgmq(connection)
    connection.execute("create schema if not exists superstoryboard")
    connection.execute(
        "create table if not exists superstoryboard.schema_migrations ("
        "version text primary key, name text not null, checksum text not null,"
        "applied_at timestamptz not null default clock_timestamp())"
    )
    return done


def _install_pgmq(connection: Connection) -> list[str]:
    """Bring PGMQ's SQL where the server has neither the functions nor the extension."""
    row = connection.execute(
        "select to_regclass('pgmq.meta') is not null"
        " or exists (select from pg_available_extensions where name = 'pgmq')"
    ).fetchone()
    if row and row[0]:
        return []
    connection.execute(get_embedded_install_sql())
    return ["Installed PGMQ from the SQL of the pgmq package: the server has no such extension."]


def _apply(connection: Connection, migration: Migration) -> list[str]:
    row = connection.execute(
        "select checksum from superstoryboard.schema_migrations where version = %s", (migration.version,)
    ).fetchone()
    if row is not None:
        if row[0] != migration.checksum:
            raise MigrationError(
                f"{migration.version}_{migration.name}.sql has changed since it was applied;"
                " migrations are never edited, add a new one"
            )
        return []
    try:
        connection.execute(migration.text)
    except psycopg.Error as error:
        raise MigrationError(f"{migration.version}_{migration.name}.sql: {error}\n{_advice(error)}") from error
    connection.execute(
        "insert into superstoryboard.schema_migrations (version, name, checksum) values (%s, %s, %s)",
        (migration.version, migration.name, migration.checksum),
    )
    return [f"Applied {migration.version}_{migration.name}."]


def _advice(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return (
            f"Another session has locked an object that the migration changes (see pg_stat_activity). {NOTHING_CHANGED}"
        )
    return NOTHING_CHANGED


def _settle(connection: Connection, kv_table: str, *, anon_may_send: bool) -> list[str]:
    """What depends on settings: the kv table, created if missing, else never altered; the right of anon to send.

    Then row-level security and the rights of the services, those of later files included.
    """
    done = []
    table = sql.Identifier(*kv_table.split("."))
    row = connection.execute("select to_regclass(%s)", (table.as_string(connection),)).fetchone()
    if row is None or row[0] is None:
        connection.execute(sql.SQL("create table {} (key text primary key, value jsonb)").format(table))
        # Default privileges may have granted everything to everybody, as Supabase's do in schema public.
        connection.execute(sql.SQL("alter table {} enable row level security").format(table))
        connection.execute(sql.SQL("revoke all on table {} from public, anon, authenticated").format(table))
        done.append(f"Created table {kv_table}.")
    verb = "grant execute on function public.pgmq_send (text, jsonb) to anon"
    connection.execute(verb if anon_may_send else "revoke execute on function public.pgmq_send (text, jsonb) from anon")
    connection.execute("select superstoryboard.settle_rights_v1(%s)", (table.as_string(connection),))
    return done


def _allow_staging(connection: Connection, bucket: str) -> list[str]:
    """Storage may have come after the migration that made the role, and the bucket is a setting."""
    row = connection.execute("select superstoryboard.allow_staging_v1(%s)", (bucket,)).fetchone()
    return [row[0]] if row and row[0] else []
