"""What an error of the database means for a statement: refused for good, or not done and worth another try.

SQLSTATE decides, never the class of the exception: psycopg calls a lock time-out and a too deep JSON operational errors
as it does a lost connection.
"""

from __future__ import annotations

import psycopg
from psycopg_pool import PoolTimeout, TooManyRequests

AWAY_CLASSES = frozenset({"08", "25", "53", "57", "58"})
"""Connection; read-only server or lost transaction; disk, memory or connections exhausted; shutdown; system error."""
CONFLICT_CLASS = "40"
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"
MISSING_OBJECT = frozenset({"3F000", "42883", "42P01", "42704"})
OUR_SCHEMAS = ("superstoryboard", "pgmq")


class DatabaseUnavailableError(Exception):
    """The database was away for longer than the caller's patience; whether the statement was done is not known."""

    def __init__(self, message: str = "the database is not reachable; try again") -> None:
        super().__init__(message)


class RowsLockedError(DatabaseUnavailableError):
    """Another session holds a row that the statement needs, or conflicts with it each time. The database is well."""

    def __init__(self) -> None:
        super().__init__("a row is locked by another database session")


class StatementTimeoutError(DatabaseUnavailableError):
    """The server cancelled the statement: it ran into its time limit, or an administrator stopped it."""

    def __init__(self) -> None:
        super().__init__("the database did not respond in time")


class PoolBusyError(DatabaseUnavailableError):
    """All connections of this process are in use by its own work. The database is well."""

    def __init__(self) -> None:
        super().__init__("all database connections of this service are in use; try again")


def unavailable(error: Exception, *, connecting_fails: bool = False) -> DatabaseUnavailableError | None:
    """The meaning of an error that may pass; None where the statement itself is refused and would be again.

    `connecting_fails` tells a pool that is empty because the server is away from one that its own load has emptied.
    """
    if isinstance(error, PoolTimeout | TooManyRequests) and not connecting_fails:
        return PoolBusyError()
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state == LOCK_NOT_AVAILABLE or is_conflict(error):
        return RowsLockedError()
    if state == QUERY_CANCELED:
        return StatementTimeoutError()
    if isinstance(error, TimeoutError) or (isinstance(error, psycopg.Error) and _is_lost(error)):
        return DatabaseUnavailableError()
    return None


def refused_state(error: Exception) -> str | None:
    """SQLSTATE of a statement that the database refused; None for every other error."""
    return error.sqlstate or "" if isinstance(error, psycopg.Error) else None


def is_conflict(error: Exception) -> bool:
    """A deadlock or serialization failure: the database asks for the transaction once more."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] == CONFLICT_CLASS


def _is_lost(error: psycopg.Error) -> bool:
    if error.sqlstate is None:  # libpq's own: no connection, or none any more
        return isinstance(error, psycopg.OperationalError)
    if error.sqlstate in MISSING_OBJECT:  # any process may start before the migrations
        return any(name in (error.diag.message_primary or "") for name in OUR_SCHEMAS)
    # FATAL ends the session, whatever the code; poolers use codes of their own for it.
    return error.sqlstate[:2] in AWAY_CLASSES or error.diag.severity_nonlocalized in ("FATAL", "PANIC")
