"""Calls whose operation's name was lost: what the ledger knows of them, and the name when it turns up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements
from superstoryboard.domain.errors import ProviderFailure
from superstoryboard.jobs.queue import PATIENCE_SECONDS


class Sql(Statements):
    """Statements of lost_operations.sql."""

    call_to_name: LiteralString
    record_operation: LiteralString
    unclaimed_operations: LiteralString
    search_for_call: LiteralString
    end_search: LiteralString
    note_lost_answer: LiteralString


class Recorded(StrEnum):
    """What became of a name that was entered."""

    RECORDED = "RECORDED"
    NOT_FOUND = "NOT_FOUND"
    NO_OPEN_CALL = "NO_OPEN_CALL"
    """The call has ended, or has another name."""
    OPERATION_NAME_IN_USE = "OPERATION_NAME_IN_USE"
    """The operation is another call's."""


@dataclass(frozen=True)
class OpenCall:
    """A call of a job that a name may be entered for."""

    call_id: int
    route: str
    model: str


@dataclass(frozen=True)
class Unclaimed:
    """Listed operations that no call has, and whether no other open call could have begun what is like this one."""

    names: frozenset[str]
    alone: bool


class LostOperations:
    """Rows of provider_calls without a name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_call(self, job_id: UUID, name: str) -> OpenCall | None:
        """The call of a job that has this name or lacks one, the newest that nobody let go; else None."""
        rows = await self._database.fetch(
            Sql.call_to_name,
            {"job": job_id, "name": name},
            patience_seconds=PATIENCE_SECONDS,
        )
        return OpenCall(rows[0]["id"], rows[0]["route"], rows[0]["model"]) if rows else None

    async def record(self, job_id: UUID, call_id: int, name: str, *, actor: str) -> Recorded:
        """Enter a name; the job polls on. `actor` is kept with it."""
        row = await self._database.fetch_one(
            Sql.record_operation,
            {"job": job_id, "call": call_id, "name": name, "actor": actor},
            patience_seconds=PATIENCE_SECONDS,
        )
        return Recorded(row["answer"])

    async def unclaimed(self, call_id: int, names: Sequence[str]) -> Unclaimed:
        """Which of the names belong to no call, and whether a likeness to this call proves something."""
        row = await self._database.fetch_one(
            Sql.unclaimed_operations,
            {"call": call_id, "names": list(names)},
            patience_seconds=PATIENCE_SECONDS,
        )
        return Unclaimed(frozenset(row["names"] or ()), bool(row["alone"]))

    async def search_for(self, call_id: int, seconds: float) -> None:
        """Have the operation of a call that is about to be sent looked for, should its answer not come."""
        await self._database.fetch(
            Sql.search_for_call,
            {"call": call_id, "seconds": seconds},
            patience_seconds=PATIENCE_SECONDS,
        )

    async def end_search(self, call_id: int) -> None:
        """Look for the operation of a call no more: its next claim buries the job."""
        await self._database.fetch(
            Sql.end_search,
            {"call": call_id},
            patience_seconds=PATIENCE_SECONDS,
        )

    async def note(self, call_id: int, failure: ProviderFailure) -> None:
        """Keep why a submit has no answer, for the dead letter that follows if its operation is not found."""
        await self._database.fetch(
            Sql.note_lost_answer,
            {"call": call_id, "error": Jsonb(failure.to_json())},
            patience_seconds=PATIENCE_SECONDS,
        )
