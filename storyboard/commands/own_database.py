"""Commands that work in the database of DATABASE_URL, without a service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg

from storyboard.api.errors import CommandError, ExitCode
from superstoryboard.db.database import Database, DatabaseUnavailableError

Result = TypeVar("Result")


def in_database(url: str, what: str, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Do something with a connection.

    Args:
        url: the database.
        what: what cannot be reached where the database cannot, as in "The tokens".
        work: what to do.

    Raises:
        CommandError: the database cannot be reached, or reports an error.
    """

    async def run() -> Result:
        database = await Database.connect(url, name="cli", pool_size=1)
        try:
            return await work(database)
        finally:
            await database.aclose()

    try:
        return asyncio.run(run())
    except DatabaseUnavailableError as error:
        advice = "Check that the database of DATABASE_URL runs, and that `storyboard migrate` has run."
        raise CommandError(ExitCode.UNREACHABLE, [f"{what} are not reachable: {error}", advice]) from error
    except psycopg.Error as error:
        raise CommandError(ExitCode.FAILED, [f"The database reported an error: {error}"]) from error
