"""To whom storyboards belong: look, share, transfer; and the settings by which the database decides it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, LiteralString

import psycopg

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.statements import Statements

PATIENCE_SECONDS = 3.0
TRY_SECONDS = 1.0


class Sql(Statements):
    """Statements of storyboards.sql."""

    set_owner_rules: LiteralString
    storyboard: LiteralString
    share_storyboard: LiteralString
    transfer_storyboard: LiteralString


class BoardRefusal(StrEnum):
    """Why a storyboard was left as it is."""

    NOT_FOUND = "NOT_FOUND"
    NOT_YOURS = "NOT_YOURS"
    NO_OWNER = "NO_OWNER"
    OWNER_IN_KV = "OWNER_IN_KV"
    MEMBER_LIMIT = "MEMBER_LIMIT"


@dataclass(frozen=True)
class OwnerSettings:
    """Where owners are found: the kv table, fields of its rows, claims of tokens; and storyboards without owner.

    Also whether users without an account may send.
    """

    kv_table: str
    fields: tuple[str, ...]
    claims: tuple[str, ...]
    shared: tuple[str, ...]
    anonymous_users: bool = False


class OwnerRules:
    """Tells the database the settings once, since `public.pgmq_send` and the asset_writer go by them too."""

    def __init__(self, database: Database, settings: OwnerSettings) -> None:
        self._database = database
        self._settings = settings
        self._known = False

    async def tell(self) -> None:
        """Make them known, unless they are.

        Raises:
            DatabaseUnavailableError: the database is away.
            psycopg.Error: it has no schema yet.
        """
        if self._known:
            return
        values = {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self._settings).items()
        }
        await self._database.fetch(Sql.set_owner_rules, values, patience_seconds=PATIENCE_SECONDS)
        self._known = True

    async def keep_telling(self) -> None:
        """Make them known as soon as the database and its schema are there."""
        while not self._known:
            try:
                await self.tell()
            except (DatabaseUnavailableError, psycopg.Error):
                await asyncio.sleep(TRY_SECONDS)


class Storyboards:
    """Storyboards as callers see them; `names` None acts for the installation and may do all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, storyboard: str, names: Sequence[str] | None) -> dict[str, Any] | None:
        """A row of storyboard_v1; None where it is not for these names."""
        values = {"storyboard": storyboard, "names": _listed(names)}
        rows = await self._database.fetch(Sql.storyboard, values, patience_seconds=PATIENCE_SECONDS)
        return rows[0] if rows else None

    async def share(
        self, storyboard: str, names: Sequence[str] | None, member: str, role: str | None
    ) -> BoardRefusal | None:
        """Let a member read (viewer) or also write (editor); with role None no more. None where that is so now."""
        values = {"storyboard": storyboard, "names": _listed(names), "member": member, "role": role}
        return await self._change(Sql.share_storyboard, values)

    async def transfer(self, storyboard: str, owner: str) -> BoardRefusal | None:
        """Give a storyboard to an owner. None where that is so now."""
        return await self._change(Sql.transfer_storyboard, {"storyboard": storyboard, "owner": owner})

    async def _change(self, statement: LiteralString, values: dict[str, Any]) -> BoardRefusal | None:
        row = await self._database.fetch_one(statement, values, patience_seconds=PATIENCE_SECONDS)
        return None if row["reason"] is None else BoardRefusal(row["reason"])


def _listed(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)
