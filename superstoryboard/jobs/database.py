"""One pool of connections; statements that are retried when the database asks for it or was away for a moment."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any, LiteralString, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import (
    DeadlockDetected,
    InvalidSchemaName,
    SerializationFailure,
    UndefinedFunction,
    UndefinedTable,
)
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from superstoryboard.jobs.refusals import Refusals
from superstoryboard.queue.cancellation import cancel_requests, keep_cancel
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import Dependency, DependencyMetrics

CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_SECONDS = 3.0
"""How long the pool tries by itself, at growing gaps; after that every statement that waits makes it try again."""
STATEMENT_TIMEOUT_SECONDS = 30.0
CONFLICT_TRIES = 10

AWAY = (psycopg.OperationalError, PoolTimeout, TimeoutError, InvalidSchemaName, UndefinedFunction, UndefinedTable)
"""The server is away, or our schema is not there yet: any process may start before the migrations."""

log = get_logger("database")


class DatabaseUnavailableError(Exception):
    """The database did not answer within the caller's patience."""


class Database:
    """Statements in transactions of their own, through a pooler too: nothing is prepared, no session state is kept."""

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[DictRow]],
        seen: Dependency | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._pool = pool
        self._refusals = refusals or Refusals()
        self._seen = seen or DependencyMetrics().of("database")
        self._away_since: float | None = None

    @classmethod
    async def connect(cls, url: str, *, name: str, pool_size: int = 8, seen: Dependency | None = None) -> Self:
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
                "row_factory": dict_row,
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": f"superstoryboard-{name}",
            },
        )
        await pool.open(wait=False)
        return cls(pool, seen, refusals)

    async def aclose(self) -> None:
        """Close the pool."""
        await self._pool.close(timeout=CONNECT_TIMEOUT_SECONDS)

    async def fetch(
        self,
        statement: LiteralString,
        values: Mapping[str, Any] | None = None,
        *,
        patience_seconds: float = 0,
    ) -> list[DictRow]:
        """Run one statement and answer its rows.

        A deadlock or serialization failure is repeated. With patience, so is a lost connection: only for statements
        that may run twice (every transition may, as the same claim repeated counts as success).

        Raises:
            DatabaseUnavailableError: the database was away for longer than the patience.
            psycopg.Error: the statement itself is refused.
        """
        deadline = time.monotonic() + patience_seconds
        tries = 0
        cancels = cancel_requests()
        while True:
            tries += 1
            begun = time.monotonic()
            try:
                async with asyncio.timeout(STATEMENT_TIMEOUT_SECONDS):
                    rows = await self._run(statement, values)
                keep_cancel(cancels)
            except (DeadlockDetected, SerializationFailure):
                keep_cancel(cancels)
                if tries >= CONFLICT_TRIES:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01 * tries))  # noqa: S311 - jitter
            except AWAY as error:
                keep_cancel(cancels)
                await self._note_away(error)
                if time.monotonic() >= deadline:
                    raise DatabaseUnavailableError("the database is not reachable") from error
                await asyncio.sleep(min(0.05 * 2 ** min(tries, 6), 2.0))
            else:
                self._note_back(begun)
                return rows

    async def fetch_one(
        self,
        statement: LiteralString,
        values: Mapping[str, Any] | None = None,
        *,
        patience_seconds: float = 0,
    ) -> DictRow:
        """As fetch, for a statement that gives exactly one row."""
        rows = await self.fetch(statement, values, patience_seconds=patience_seconds)
        return rows[0]

    async def _run(self, statement: LiteralString, values: Mapping[str, Any] | None) -> list[DictRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    async def _note_away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._seen.away()
            log.warning(
                "The database does not answer; waiting for it",
                kind=type(error).__name__,
                **self._refusals.fields(),
            )
            await self._pool.drain()  # its other connections are as dead; one by one they would fail good statements

    def _note_back(self, begun: float) -> None:
        """One statement that was under way when the others failed says nothing about now."""
        if self._away_since is not None and begun > self._away_since:
            log.info("The database answers again", away_seconds=round(time.monotonic() - self._away_since, 1))
            self._away_since = None
            self._seen.back()
