"""What people do to jobs and queues: cancel, start again, discard, pause. Each is one function of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements
from superstoryboard.domain.quotas import QuotaScope
from superstoryboard.jobs.records import read_record
from superstoryboard.jobs.store import PATIENCE_SECONDS, FrozenGeneration

ENDED_UNSTORED = ("FAILED", "DEAD_LETTERED", "CANCELLED")
"""States from which a job can be started again."""


class Sql(Statements):
    """Statements of steering.sql."""

    cancel_job: LiteralString
    redrive_job: LiteralString
    redrive_dead_letters: LiteralString
    discard_dead_letters: LiteralString
    pause_queue: LiteralString
    dead_letters: LiteralString


class Way(StrEnum):
    """How a job that is started again goes on."""

    WRITE_AGAIN = "WRITE_AGAIN"
    POLL_ON = "POLL_ON"
    NEW_CALL = "NEW_CALL"


class Refusal(StrEnum):
    """Why a job was left as it is."""

    NOT_FOUND = "NOT_FOUND"
    JOB_STATE = "JOB_STATE"
    SECOND_PAYMENT = "SECOND_PAYMENT"
    JOB_OPERATION_RUNNING = "JOB_OPERATION_RUNNING"
    NOT_YOURS = "NOT_YOURS"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"


@dataclass(frozen=True)
class Refused:
    """The first job for which nothing could be done; none of the others was changed either."""

    job_id: UUID
    reason: Refusal


class Steering:
    """Transitions that callers and operators ask for; `actor` is recorded with each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cancel(self, job_id: UUID, *, owner: str | None, actor: str, names: Sequence[str] = ()) -> str | None:
        """Cancel a job that has not ended. Returns its state before the call; None where the owner has no such job.

        Also of storyboards that one of `names` may write; NOT_YOURS where it may only read.
        """
        row = await self._database.fetch_one(
            Sql.cancel_job,
            {"job": job_id, "owner": owner, "actor": actor, "names": list(names)},
            patience_seconds=PATIENCE_SECONDS,
        )
        return row["state"]  # type: ignore[no-any-return]  # text or null

    async def retry(
        self,
        job_id: UUID,
        *,
        owner: str | None,
        actor: str,
        accept_second_payment: bool = False,
        names: Sequence[str] = (),
        quota_scope: QuotaScope = QuotaScope.NONE,
    ) -> Way | Refusal:
        """Start a failed, dead-lettered or cancelled job again: what is paid goes on, else there is a new call."""
        row = await self._database.fetch_one(
            Sql.redrive_job,
            {
                "job": job_id,
                "owner": owner,
                "actor": actor,
                "states": list(ENDED_UNSTORED),
                "accept": accept_second_payment,
                "names": list(names),
                "quota_scope": quota_scope,
            },
        )
        answer: str = row["answer"] or Refusal.NOT_FOUND
        return Way(answer) if answer in set(Way) else Refusal(answer)

    async def redrive(
        self,
        job_ids: list[UUID],
        *,
        actor: str,
        accept_second_payment: bool = False,
        edit: FrozenGeneration | None = None,
    ) -> Refused | None:
        """Start dead letters again, all or none. None where all were."""
        return await self._all_or_none(
            Sql.redrive_dead_letters,
            {
                "jobs": job_ids,
                "actor": actor,
                "accept": accept_second_payment,
                "generation": Jsonb(edit.generation) if edit else None,
                "provider": edit.provider if edit else None,
                "model": edit.model if edit else None,
                "warnings": edit.warnings if edit else None,
            },
        )

    async def discard(self, job_ids: list[UUID], *, actor: str) -> Refused | None:
        """Discard dead letters, all or none. None where all are."""
        return await self._all_or_none(
            Sql.discard_dead_letters,
            {"jobs": job_ids, "actor": actor},
        )

    async def pause(self, queue: str, *, paused: bool, actor: str) -> bool:
        """Stop or allow claiming from a queue. False where there is no such queue."""
        row = await self._database.fetch_one(
            Sql.pause_queue,
            {"queue": queue, "paused": paused, "actor": actor},
            patience_seconds=PATIENCE_SECONDS,
        )
        return bool(row["found"])

    async def dead_letters(
        self, queue: str, *, job_ids: Sequence[UUID] = (), limit: int, before: tuple[datetime, UUID] | None
    ) -> list[dict[str, Any]]:
        """Rows of dead_letters, newest first, before a place in the list; no queue and no ids mean all."""
        rows = await self._database.fetch(
            Sql.dead_letters,
            {
                "queue": queue,
                "jobs": list(job_ids),
                "limit": limit,
                "last_time": before[0] if before else None,
                "last_id": before[1] if before else None,
            },
            patience_seconds=PATIENCE_SECONDS,
        )
        return [read_record(row) for row in rows]

    async def _all_or_none(self, statement: LiteralString, values: dict[str, Any]) -> Refused | None:
        row = await self._database.fetch_one(statement, values)
        return Refused(row["refused"], Refusal(row["reason"])) if row["reason"] else None
