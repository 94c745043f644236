"""The table of service tokens: made, listed, revoked, and read by every process that checks them."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any, LiteralString

import psycopg

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.statements import Statements
from superstoryboard.domain.service_tokens import ServiceToken, TokensUnreadableError

PATIENCE_SECONDS = 3.0


class Sql(Statements):
    """Statements of service_tokens.sql."""

    kept_tokens: LiteralString
    list_tokens: LiteralString
    create_token: LiteralString
    revoke_token: LiteralString
    note_tokens: LiteralString


class Creation(StrEnum):
    """What became of a token that was to be made."""

    CREATED = "CREATED"
    TOKEN_NAME_IN_USE = "TOKEN_NAME_IN_USE"  # noqa: S105 - a word of the answer
    TOO_MANY_TOKENS = "TOO_MANY_TOKENS"
    QUEUE_UNKNOWN = "QUEUE_UNKNOWN"


class ServiceTokenTable:
    """Service tokens in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> list[ServiceToken]:
        """Every token that is kept, ended ones included.

        Raises:
            TokensUnreadableError: the database is away, or has no such table yet.
        """
        try:
            rows = await self._database.fetch(Sql.kept_tokens)
        except (DatabaseUnavailableError, psycopg.Error) as error:
            reason = f"SQLSTATE {error.sqlstate}" if isinstance(error, psycopg.Error) else str(error)
            raise TokensUnreadableError(reason) from error
        return [ServiceToken(**row | {"queues": tuple(row["queues"])}) for row in rows]

    async def note_used(self, sha256s: Collection[str]) -> None:
        """Note that tokens were used just now.

        Raises:
            TokensUnreadableError: nothing was noted.
        """
        try:
            await self._database.fetch(Sql.note_tokens, {"sha256s": list(sha256s)})
        except (DatabaseUnavailableError, psycopg.Error) as error:
            raise TokensUnreadableError(str(error)) from error

    async def create(self, token: ServiceToken, *, actor: str) -> Creation:
        """Keep a new token; the same one again counts as created."""
        values = {name: getattr(token, name) for name in ("sha256", "name", "role", "owner", "expires_at")}
        row = await self._database.fetch_one(
            Sql.create_token,
            values | {"queues": list(token.queues), "actor": actor},
            patience_seconds=PATIENCE_SECONDS,
        )
        return Creation(row["answer"])

    async def revoke(self, name: str, *, actor: str) -> bool:
        """End the token of this name. False where there is none that is not revoked."""
        row = await self._database.fetch_one(Sql.revoke_token, {"name": name, "actor": actor})
        return bool(row["revoked"])

    async def listed(self) -> list[dict[str, Any]]:
        """Rows of all tokens but their hashes: name, role, owner, queues, and who made and revoked each when."""
        return await self._database.fetch(Sql.list_tokens, patience_seconds=PATIENCE_SECONDS)
