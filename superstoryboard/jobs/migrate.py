"""Applies the files of migrations/ in order, each in one transaction, under a lock that works through a pooler."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import psycopg
from pgmq.install import get_embedded_install_sql
from psycopg import Connection, sql

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
LOCK = 0x5342_4D49
CONNECT_TIMEOUT_SECONDS = 10
STAGING_BUCKET = "artifact-staging"


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
    """All migrations of a folder in the order in which they are applied."""
    files = sorted(folder.glob("[0-9]*_*.sql"))
    return [Migration(file.stem.partition("_")[0], file.stem.partition("_")[2], file.read_text()) for file in files]


def migrate(
    database_url: str, *, kv_table: str, anon_may_send: bool = False, staging_bucket: str = STAGING_BUCKET
) -> list[str]:
    """Bring a database to the present schema and say what was done, one sentence each.

    Safe to repeat and to run twice at once: each step holds a transaction-level advisory lock.

    Raises:
        MigrationError: an applied file has changed, or the server refuses a statement.
    """
    options = {"autocommit": False, "prepare_threshold": None, "connect_timeout": CONNECT_TIMEOUT_SECONDS}
    with psycopg.connect(database_url, **options) as connection:  # type: ignore[arg-type]  # kwargs of libpq
        done = _prepare(connection)
        for migration in read_migrations():
            done += _apply(connection, migration)
        done += _settle(connection, kv_table, anon_may_send=anon_may_send)
        done += _allow_staging(connection, staging_bucket)
    return done or ["Nothing to do: the schema is up to date."]


def _prepare(connection: Connection) -> list[str]:
    with connection.transaction():
        _lock(connection)
        done = _install_pgmq(connection)
        connection.execute("create schema if not exists superstoryboard")
        connection.execute(
            "create table if not exists superstoryboard.schema_migrations ("
            "version text primary key, name text not null, checksum text not null,"
            "applied_at timestamptz not null default clock_timestamp())"
        )
    return done


def _lock(connection: Connection) -> None:
    connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))


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
    with connection.transaction():
        _lock(connection)
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
            raise MigrationError(f"{migration.version}_{migration.name}.sql: {error}") from error
        connection.execute(
            "insert into superstoryboard.schema_migrations (version, name, checksum) values (%s, %s, %s)",
            (migration.version, migration.name, migration.checksum),
        )
    return [f"Applied {migration.version}_{migration.name}."]


def _settle(connection: Connection, kv_table: str, *, anon_may_send: bool) -> list[str]:
    """What depends on settings: the kv table, created if missing, else never altered; the right of anon to send."""
    done = []
    with connection.transaction():
        _lock(connection)
        table = sql.Identifier(*kv_table.split("."))
        row = connection.execute("select to_regclass(%s)", (table.as_string(connection),)).fetchone()
        if row is None or row[0] is None:
            connection.execute(sql.SQL("create table {} (key text primary key, value jsonb)").format(table))
            done.append(f"Created table {kv_table}.")
        verb = "grant execute on function public.pgmq_send (text, jsonb) to anon"
        connection.execute(
            verb if anon_may_send else "revoke execute on function public.pgmq_send (text, jsonb) from anon"
        )
    return done


def _allow_staging(connection: Connection, bucket: str) -> list[str]:
    """Storage may have come after the migration that made the role, and the bucket is a setting."""
    with connection.transaction():
        _lock(connection)
        row = connection.execute("select superstoryboard.allow_staging_v1(%s)", (bucket,)).fetchone()
    return [row[0]] if row and row[0] else []
