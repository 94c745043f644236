"""One pool of connections; statements that are retried when the database asks for it or was away for a moment.

A statement travels with its limits as one message of the simple protocol: `set local …; statement`. The server runs
such a message as one transaction, so no session state is kept (poolers in transaction mode lend the session to others),
no session is ever idle in a transaction, and the limits cost no round trip. psycopg quotes the values on this side.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any, LiteralString, Self

import psycopg
from psycopg import AsyncClientCursor, AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed

from superstoryboard.db import errors as database_errors
from superstoryboard.db.cancellation import cancel_requests, keep_cancel
from superstoryboard.db.connect_reasons import Refusals
from superstoryboard.db.errors import DatabaseUnavailableError, PoolBusyError, RowsLockedError, is_conflict
from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import Dependency, DependencyMetrics

CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_SECONDS = 3.0
"""How long the pool tries by itself, at growing gaps; after that every statement that waits makes it try again."""
LOCK_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT_SECONDS = 25.0
ANSWER_TIMEOUT_SECONDS = 30.0
"""Longer than the server's own limit: no answer until then means that the server is away."""
POOL_WAIT_SECONDS = 30.0
"""How long a statement without patience waits for a connection that the process's own work uses."""
CONFLICT_TRIES = 10
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""A server that vanished without a word is noticed after about 25 s. Seconds, and tcp_user_timeout milliseconds."""

__all__ = ["Database", "DatabaseUnavailableError"]

log = get_logger("database")


class Database:
    """Statements in transactions of their own, through a pooler too: nothing is prepared, no session state is kept."""

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[DictRow]],
        dependency: Dependency | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._pool = pool
        self._refusals = refusals or Refusals()
        self._dependency = dependency or DependencyMetrics().of("database")
        self._away_since: float | None = None
        self._answered = float("-inf")
        self._drained = float("-inf")

    @classmethod
    async def connect(cls, url: str, *, name: str, pool_size: int = 8, dependency: Dependency | None = None) -> Self:
        """Open a pool without waiting for the database: any process may start first."""
        refusals = Refusals()
        pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            connection_class=refusals.noting(),
            min_size=1,
            max_size=pool_size,
            open=False,
            timeout=CONNECT_TIMEOUT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            kwargs={
                "autocommit": True,
                "prepare_threshold": None,
                "cursor_factory": AsyncClientCursor,
                "row_factory": dict_row,
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": f"superstoryboard-{name}",
                **KEEPALIVE,
            },
        )
        await pool.open(wait=False)
        return cls(pool, dependency, refusals)

    @property
    def is_away(self) -> bool:
        """True between the first statement that found it away and the first that it answers again."""
        return self._away_since is not None

    def answered_within(self, seconds: float) -> bool:
        """True where any statement succeeded in the last so many seconds."""
        return time.monotonic() - self._answered <= seconds

    async def aclose(self) -> None:
        """Close the pool."""
        await self._pool.close(timeout=CONNECT_TIMEOUT_SECONDS)

    async def fetch(
        self,
        statement: LiteralString,
        values: Mapping[str, Any] | None = None,
        *,
        patience_seconds: float = 0,
        lock_timeout_seconds: float | None = None,
    ) -> list[DictRow]:
        """Run one statement, a transaction of its own, and return its rows.

        A deadlock or serialization failure is repeated. With patience, so is a statement that met a lost connection, a
        locked row or a time limit: only for statements that may run twice (every transition may, as the same claim
        repeated counts as success). Who names a lock time-out is told of a locked row at once. Connections that this
        process's own work uses are waited for in any case.

        Raises:
            RowsLockedError, StatementTimeoutError, PoolBusyError: not done for that reason, within the patience.
            DatabaseUnavailableError: the database was away for longer than the patience.
            psycopg.Error: the statement itself is refused.
        """
        query = _with_limits(statement, lock_timeout_seconds or LOCK_TIMEOUT_SECONDS)
        started, cancels = time.monotonic(), cancel_requests()
        tries = 0
        while True:
            tries += 1
            begun = time.monotonic()
            try:
                rows = await self._run(query, values)
                keep_cancel(cancels)
            except (psycopg.Error, TimeoutError) as error:
                keep_cancel(cancels)
                failure = await self._unavailable(error)
                patience = 0 if lock_timeout_seconds and isinstance(failure, RowsLockedError) else patience_seconds
                pause = _pause(error, failure, tries, time.monotonic() - started, patience)
                if pause is None:
                    raise failure from error
                await asyncio.sleep(pause)
            else:
                self._note_back(begun)
                return rows

    async def _unavailable(self, error: psycopg.Error | TimeoutError) -> DatabaseUnavailableError:
        """What of the database was not available; an error of the statement itself is raised again."""
        failure = database_errors.unavailable(error, connecting_fails=self._refusals.failing)
        if failure is None:
            raise error
        if type(failure) is DatabaseUnavailableError:
            await self._note_away(error)
        return failure

    async def fetch_one(
        self,
        statement: LiteralString,
        values: Mapping[str, Any] | None = None,
        *,
        patience_seconds: float = 0,
        lock_timeout_seconds: float | None = None,
    ) -> DictRow:
        """As fetch, for a statement that gives exactly one row."""
        rows = await self.fetch(
            statement, values, patience_seconds=patience_seconds, lock_timeout_seconds=lock_timeout_seconds
        )
        return rows[0]

    async def _run(self, query: bytes, values: Mapping[str, Any] | None) -> list[DictRow]:
        async with self._pool.connection() as connection, asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            cursor = await connection.execute(query, values)
            while cursor.nextset():
                continue
            return await cursor.fetchall() if cursor.description else []

    async def _note_away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._dependency.away()
            log.warning(
                "The database is unavailable; waiting for it",
                kind=type(error).__name__,
                **self._refusals.fields(),
            )
        if time.monotonic() - self._drained >= RECONNECT_SECONDS:
            # Its other connections are as dead, or lead to a server that stays read-only: a standby after a failover.
            self._drained = time.monotonic()
            await self._pool.drain()

    def _note_back(self, begun: float) -> None:
        """One statement that was under way when the others failed says nothing about now."""
        self._answered = time.monotonic()
        if self._away_since is not None and begun > self._away_since:
            log.info("The database is available again", away_seconds=round(time.monotonic() - self._away_since, 1))
            self._away_since = None
            self._dependency.back()


def _pause(
    error: Exception, failure: DatabaseUnavailableError, tries: int, waited_seconds: float, patience_seconds: float
) -> float | None:
    """Seconds until the next try, or None where there is none."""
    if is_conflict(error) and tries < CONFLICT_TRIES:
        return random.uniform(0, 0.01 * tries)  # noqa: S311 - jitter
    patience = max(patience_seconds, POOL_WAIT_SECONDS) if isinstance(failure, PoolBusyError) else patience_seconds
    if isinstance(error, PoolClosed) or waited_seconds >= patience:
        return None
    return backoff_seconds(tries + 1, 0.05, 2.0)


def _with_limits(statement: LiteralString, lock_timeout_seconds: float) -> bytes:
    limits = (round(lock_timeout_seconds * 1000), round(STATEMENT_TIMEOUT_SECONDS * 1000))
    return b"set local lock_timeout = %d; set local statement_timeout = %d; " % limits + statement.encode()
