"""Why connections fail, in words: the pool connects in the background and tells nobody."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow

REASONS = {
    "certificate verify failed": "its certificate is not signed by sslrootcert's CA",
    "does not match host name": "its certificate names a different host",
    "root certificate file": "the file of sslrootcert cannot be read",
    "server does not support SSL": "it does not support TLS, which sslmode requires",
    "no pg_hba.conf entry": "it rejects this user, address or connection without TLS (pg_hba.conf)",
    "password authentication failed": "it rejected the user or the password",
    "does not exist": "there is no such database or user",
    "too many clients": "it has no free connections",
    "remaining connection slots": "it has no free connections",
}
"""By a part of what libpq says. Its own text holds addresses, which no log line shows."""


def reason(error: Exception) -> str | None:
    """What a failed connection means; None where it tells no more than that nobody answered."""
    text = str(error)
    return next((meaning for part, meaning in REASONS.items() if part in text), None)


class Refusals:
    """Remembers the reason of the last connection that failed, until one succeeds."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self.failing = True
        """True until a connection succeeds, and again where the last that was tried failed."""

    def fields(self) -> dict[str, str]:
        """For a log line."""
        return {} if self._reason is None else {"reason": self._reason}

    def noting(self) -> type[AsyncConnection[DictRow]]:
        """A class of connections that tells here how connecting ended."""
        refusals = self

        class Noting(AsyncConnection[DictRow]):
            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> AsyncConnection[DictRow]:  # type: ignore[override]
                try:
                    made = await super().connect(conninfo, **options)
                except psycopg.OperationalError as error:
                    refusals._reason = reason(error)
                    refusals.failing = True
                    raise
                refusals._reason = None
                refusals.failing = False
                return made

        return Noting
