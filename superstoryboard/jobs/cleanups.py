"""Objects of no more use: named by artifact rows, removed by the asset_writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements


class Sql(Statements):
    """Statements of cleanups.sql."""

    claim_cleanups: LiteralString
    end_cleanups: LiteralString


@dataclass(frozen=True)
class Cleanup:
    """An ended artifact, and the objects of it that may still lie in Storage."""

    id: UUID
    state: str
    staging_bucket: str
    staging_key: str
    bucket: str
    path: str

    def objects(self) -> list[tuple[str, str]]:
        """Bucket and key of each: the staged object, and the final one of an artifact that was discarded."""
        staged = [(self.staging_bucket, self.staging_key)]
        return [*staged, (self.bucket, self.path)] if self.state == "DISCARDED" else staged


class Cleanups:
    """Rows of artifacts that ended a while ago."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, *, older_than_seconds: float, limit: int) -> list[Cleanup]:
        """Lease up to `limit` artifacts that ended at least so many seconds ago and whose objects were not removed."""
        rows = await self._database.fetch(
            Sql.claim_cleanups,
            {"age": older_than_seconds, "limit": limit},
        )
        return [Cleanup(**row) for row in rows]

    async def end(self, cleanups: list[Cleanup]) -> None:
        """Record that their objects are gone."""
        await self._database.fetch(
            Sql.end_cleanups,
            {"ids": [cleanup.id for cleanup in cleanups]},
            patience_seconds=10,
        )
