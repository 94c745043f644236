"""The pool's own promises: what is cancelled stays cancelled; an error that passes is waited for, by what it means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.db.errors import (
    DatabaseUnavailableError,
    PoolBusyError,
    RowsLockedError,
    StatementTimeoutError,
)
from superstoryboard.process.lifecycle import schema_answers
from superstoryboard.telemetry.metrics import DependencyMetrics, new_registry

TICKS = 60
RAISE_THRICE = """
create sequence tried;
create function refuse_thrice(p_state text) returns bigint language plpgsql as $$
begin
  if nextval('tried') <= 3 then
    raise exception 'refused' using errcode = p_state;
  end if;
  return currval('tried');
end $$
"""


async def test_a_cancel_that_meets_the_free_connection_is_not_lost(database_url: str) -> None:
    database = await Database.connect(database_url, name="test", pool_size=1)
    await database.fetch("select 1")
    lost = []
    for ticks in range(TICKS):
        holding = asyncio.create_task(database.fetch("select pg_sleep(0.01)"))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(database.fetch("select 1"))
        await asyncio.wait({holding})
        for _ in range(ticks):
            await asyncio.sleep(0)
        cancelled = waiting.cancel()
        await asyncio.wait({waiting})
        if cancelled and not waiting.cancelled():
            lost.append(ticks)
    await database.aclose()
    assert lost == []


# One of each class: connection, read-only server, disk full, too many connections, shutdown, system error.
AWAY = ["08006", "08P01", "25006", "53100", "53200", "53300", "57P01", "57P03", "58030"]


@pytest.mark.parametrize("state", [*AWAY, "55P03", "57014", "40001", "40P01"])
async def test_an_error_that_passes_is_waited_for_within_the_patience(
    database: Database, sql: psycopg.Connection, state: str
) -> None:
    sql.execute(RAISE_THRICE)
    row = await database.fetch_one("select refuse_thrice(%(state)s) as n", {"state": state}, patience_seconds=60)
    assert row["n"] == 4


@pytest.mark.parametrize("state", AWAY)
async def test_without_patience_such_an_error_means_that_the_database_is_away(
    database: Database, sql: psycopg.Connection, state: str
) -> None:
    sql.execute(RAISE_THRICE)
    with pytest.raises(DatabaseUnavailableError) as raised:
        await database.fetch("select refuse_thrice(%(state)s)", {"state": state})
    assert type(raised.value) is DatabaseUnavailableError


@pytest.mark.parametrize("state", ["22P02", "22003", "23514", "23505", "42601", "42501", "54001", "P0001"])
async def test_a_refused_statement_is_not_repeated_whatever_the_patience(
    database: Database, sql: psycopg.Connection, state: str
) -> None:
    sql.execute(RAISE_THRICE)
    with pytest.raises(psycopg.Error) as raised:
        await database.fetch("select refuse_thrice(%(state)s)", {"state": state}, patience_seconds=60)
    assert raised.value.sqlstate == state
    assert sql.execute("select last_value from tried").fetchone() == (1,)


async def test_a_read_only_database_is_away_until_it_takes_writes_again(database_url: str) -> None:
    """As after a failover, where the old server answers reads: the pool must not stay on its connections."""
    database = await Database.connect(database_url, name="test")
    name = database_url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("create table written (n int)")
        admin.execute(f"alter database {name} set default_transaction_read_only = on")
        await database.fetch("select 1")
        writing = asyncio.create_task(database.fetch("insert into written values (1)", patience_seconds=60))
        while not (await asyncio.wait({writing}, timeout=0.05))[0] and not database.is_away:
            continue
        assert not writing.done()
        admin.execute(f"alter database {name} reset default_transaction_read_only")
        await writing
    await database.aclose()


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection."""
    database = await Database.connect(database_url, name="test", pool_size=1)
    await database.fetch("select 1")
    yield database
    await database.aclose()


async def test_a_row_locked_elsewhere_is_told_apart_and_does_not_count_as_an_outage(
    database_url: str, sql: psycopg.Connection
) -> None:
    registry = new_registry()
    database = await Database.connect(database_url, name="test", dependency=DependencyMetrics(registry).of("database"))
    sql.execute("create table held (n int); insert into held values (1)")
    with psycopg.connect(database_url) as other:
        other.execute("select from held for update")
        with pytest.raises(RowsLockedError):
            await database.fetch("update held set n = 2", patience_seconds=60, lock_timeout_seconds=0.05)
        waiting = asyncio.create_task(database.fetch("update held set n = n + 1", patience_seconds=60))
        await asyncio.wait({waiting}, timeout=0.1)
    await waiting
    assert sql.execute("select n from held").fetchone() == (2,)
    assert registry.get_sample_value("superstoryboard_dependency_outages_total", {"dependency": "database"}) == 0
    await database.aclose()


async def test_a_statement_over_its_time_is_stopped_by_the_server_and_told_apart(
    monkeypatch: pytest.MonkeyPatch, small: Database, sql: psycopg.Connection
) -> None:
    monkeypatch.setattr("superstoryboard.db.database.STATEMENT_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(StatementTimeoutError):
        await small.fetch("select pg_sleep(60)")
    running = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(60)'"
    assert sql.execute(running).fetchone() == (0,)


async def test_limits_leave_no_trace_in_the_session(small: Database) -> None:
    await small.fetch("select 1", lock_timeout_seconds=1)
    shown = "select current_setting('lock_timeout') as l, current_setting('statement_timeout') as s"
    assert await small.fetch_one(shown) == {"l": "5s", "s": "25s"}
    async with small._pool.connection() as connection:
        record = await (await connection.execute(shown)).fetchone()
    assert record == {"l": "0", "s": "0"}


@pytest.fixture
async def full(
    monkeypatch: pytest.MonkeyPatch, small: Database, sql: psycopg.Connection
) -> AsyncIterator[tuple[Database, psycopg.Connection]]:
    """A pool whose one connection is in use until the plain connection releases advisory lock 1."""
    monkeypatch.setattr(small._pool, "timeout", 0.1)
    sql.execute("select pg_advisory_lock(1)")
    holding = asyncio.create_task(small.fetch("select pg_advisory_xact_lock(1)", lock_timeout_seconds=60))
    waits = "select from pg_locks where locktype = 'advisory' and not granted"
    while (await asyncio.to_thread(sql.execute, waits)).fetchone() is None:
        continue
    yield small, sql
    sql.execute("select pg_advisory_unlock_all()")
    await holding


async def test_a_pool_that_its_own_work_has_emptied_is_waited_for(full: tuple[Database, psycopg.Connection]) -> None:
    database, sql = full
    waiting = asyncio.create_task(database.fetch("select 1"))
    await asyncio.wait({waiting}, timeout=0.5)
    assert not waiting.done()
    sql.execute("select pg_advisory_unlock_all()")
    await waiting


async def test_a_pool_that_its_own_work_has_emptied_is_no_outage(
    monkeypatch: pytest.MonkeyPatch, full: tuple[Database, psycopg.Connection]
) -> None:
    database, _ = full
    monkeypatch.setattr("superstoryboard.db.database.POOL_WAIT_SECONDS", 0)
    monkeypatch.setattr("superstoryboard.process.lifecycle.HEALTH_TIMEOUT_SECONDS", 60)
    with pytest.raises(PoolBusyError):
        await database.fetch("select 1")
    assert not database.is_away
    assert await schema_answers(database), "the process is well: its own work fills the pool"
