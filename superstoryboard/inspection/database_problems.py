"""Why a database cannot be looked at, in words that hold neither its address nor a password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedTable


class Problem(StrEnum):
    """Why a database cannot be looked at."""

    URL = "URL"
    UNREACHABLE = "UNREACHABLE"
    PASSWORD = "PASSWORD"  # noqa: S105 - the name of a problem
    DATABASE = "DATABASE"
    TLS = "TLS"
    RIGHTS = "RIGHTS"
    REFUSED = "REFUSED"


class InspectionError(Exception):
    """The database cannot be looked at; the message holds neither address nor password."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


@contextmanager
def spoken() -> Iterator[None]:
    """Turn what the driver raises into InspectionError."""
    try:
        yield
    except TimeoutError:
        raise InspectionError(Problem.UNREACHABLE, "the database did not respond in time") from None
    except InsufficientPrivilege as error:
        raise InspectionError(Problem.RIGHTS, error.diag.message_primary or "permission denied") from None
    except psycopg.OperationalError as error:
        raise _connection_problem(error) from None
    except UndefinedTable as error:
        raise InspectionError(Problem.REFUSED, error.diag.message_primary or "a table is missing") from None
    except psycopg.Error as error:
        reason = error.sqlstate or type(error).__name__
        raise InspectionError(Problem.REFUSED, f"the database rejected a query ({reason})") from None


def _connection_problem(error: psycopg.OperationalError) -> InspectionError:
    """Tell by libpq's words, since a refusal during the handshake carries no code."""
    words = str(error).lower()
    for texts, problem, message in _CONNECTION_PROBLEMS:
        if any(text in words for text in texts):
            return InspectionError(problem, message)
    return InspectionError(Problem.UNREACHABLE, "the database is not reachable")


_CONNECTION_PROBLEMS = (
    (
        ("password", "authentication", "sasl", "tenant or user not found"),
        Problem.PASSWORD,
        "the user or password was rejected",
    ),
    (("no pg_hba.conf entry",), Problem.RIGHTS, "the server does not accept this user from this machine"),
    (('role "',), Problem.PASSWORD, "the user does not exist"),
    (('database "',), Problem.DATABASE, "the database does not exist"),
    (("certificate", "ssl", "tls"), Problem.TLS, "TLS cannot be established as sslmode requires"),
    (("too many", "remaining connection slots", "max clients"), Problem.REFUSED, "all connections are in use"),
    (("starting up", "shutting down"), Problem.UNREACHABLE, "the database is starting up or shutting down"),
    (("invalid", "unsupported"), Problem.URL, "a part of the URL cannot be used"),
)
