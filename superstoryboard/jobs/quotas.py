"""Quotas and weights, set and shown by those who run the database."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, LiteralString

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements

PATIENCE_SECONDS = 3.0


class Sql(Statements):
    """Statements of quotas.sql."""

    list_quotas: LiteralString
    list_weights: LiteralString
    set_quota: LiteralString
    unset_quota: LiteralString
    set_weight: LiteralString
    unset_weight: LiteralString
    uses_of_owner: LiteralString


@dataclass(frozen=True, kw_only=True)
class Quota:
    """A row of quotas: 0 is no limit, None is left to the wider row."""

    kind: str
    scope: str
    """EVERYONE, ANONYMOUS or OWNER."""
    owner: str = ""
    open_jobs: int | None = None
    per_minute: int | None = None
    per_day: int | None = None


class QuotaTable:
    """The tables quotas and owner_weights."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, quota: Quota) -> Quota:
        """Set the numbers that are given; the others stay. Returns the row as it is now."""
        row = await self._database.fetch_one(Sql.set_quota, asdict(quota), patience_seconds=PATIENCE_SECONDS)
        return Quota(**row)

    async def unset(self, kind: str, scope: str, owner: str) -> bool:
        """Remove a row. False where there is none."""
        values = {"kind": kind, "scope": scope, "owner": owner}
        row = await self._database.fetch_one(Sql.unset_quota, values, patience_seconds=PATIENCE_SECONDS)
        return bool(row["removed"])

    async def weigh(self, owner: str, weight: float) -> None:
        """Set the weight of an owner. 1 is that of all who have none, and is not kept."""
        statement = Sql.unset_weight if weight == 1 else Sql.set_weight
        values = {"owner": owner} if weight == 1 else {"owner": owner, "weight": weight}
        await self._database.fetch_one(statement, values, patience_seconds=PATIENCE_SECONDS)

    async def quotas(self) -> list[Quota]:
        """Every row, by kind, the widest first."""
        rows = await self._database.fetch(Sql.list_quotas, patience_seconds=PATIENCE_SECONDS)
        return [Quota(**row) for row in rows]

    async def weights(self) -> dict[str, float]:
        """Weight by owner, of those who have one."""
        rows = await self._database.fetch(Sql.list_weights, patience_seconds=PATIENCE_SECONDS)
        return {row["owner"]: row["weight"] for row in rows}

    async def uses(self, owner: str, scope: str) -> list[dict[str, Any]]:
        """For each kind what an owner may and has used, and its weight.

        Keys: kind; open_jobs, per_minute and per_day, None where it has no quota; open_now, in_minute, in_day; weight.
        """
        values = {"owner": owner, "scope": scope}
        return await self._database.fetch(Sql.uses_of_owner, values, patience_seconds=PATIENCE_SECONDS)
