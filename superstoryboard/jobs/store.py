"""What ingest does with jobs: accept, read, list; queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements
from superstoryboard.domain.ids import new_job_id
from superstoryboard.domain.priorities import Priority
from superstoryboard.domain.quotas import QuotaScope
from superstoryboard.jobs.records import read_record

PATIENCE_SECONDS = 3.0


class Sql(Statements):
    """Statements of store.sql."""

    accept_jobs: LiteralString
    jobs_by_id: LiteralString
    visible_ids: LiteralString
    readable_storyboards: LiteralString
    search_jobs: LiteralString
    queue_status: LiteralString
    closed_gates: LiteralString


@dataclass(frozen=True)
class FrozenGeneration:
    """A generation with every default filled in, whom it calls, and what is worth knowing about that."""

    generation: dict[str, Any]
    provider: str
    model: str
    warnings: list[str]


@dataclass(frozen=True)
class Submission:
    """One job to accept. `submit_hash` fingerprints the request as sent, for idempotency.

    Without `max_attempts` the job has those of its queue. `priority` is that among the jobs of its owner.
    `writes_as` are the names under which a storyboard may belong to the caller; None: it acts for the installation and
    may write all. `source_storyboard` is the one to which a source image in a private bucket belongs.
    """

    kind: str
    owner: str
    request_id: str | None
    submit_hash: str
    generation: dict[str, Any]
    provider: str
    model: str
    labels: dict[str, str]
    max_attempts: int | None
    delay_seconds: int = 0
    priority: Priority = Priority.NORMAL
    quota_scope: QuotaScope = QuotaScope.EVERYONE
    traceparent: str = ""
    warnings: list[str] = field(default_factory=list)
    actor: str | None = None
    """The service that asks on behalf of the owner."""
    writes_as: list[str] | None = None
    source_storyboard: str | None = None


@dataclass(frozen=True)
class QuotaRefusal:
    """Why a submission was refused: OPEN_JOBS, PER_MINUTE or PER_DAY, and after how many seconds to try again."""

    quota: str
    retry_seconds: int
    message: str


@dataclass(frozen=True)
class Accepted:
    """What became of a submission: `created`, `existing` (the same again), `conflict` (another payload) or `refused`.

    Also NOT_YOURS, where the caller may not write the storyboard, and SOURCE_NOT_YOURS, where it may not read that of
    the source image. `record` is the row of job_records; all None where there is no job.
    """

    outcome: str
    record: dict[str, Any]
    refusal: QuotaRefusal | None = None

    @property
    def job_id(self) -> UUID:
        """Id of the job."""
        job_id: UUID = self.record["id"]
        return job_id


@dataclass(frozen=True)
class JobFilter:
    """Jobs to list; None and empty match all. `owner` None sees every owner.

    With a storyboard that one of `names` may read, the jobs of others in it are there too.
    """

    owner: str | None
    names: tuple[str, ...] = ()
    storyboard_id: str = ""
    scene_id: str = ""
    character_id: str = ""
    states: tuple[str, ...] = ()
    kind: str = ""
    created_from: datetime | None = None
    created_before: datetime | None = None


class JobStore:
    """Jobs as callers see them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, submissions: list[Submission]) -> list[Accepted]:
        """Accept submissions in one transaction; the answers are in their order."""
        items = [
            {"index": index, "id": str(new_job_id()), **vars(submission)}
            for index, submission in enumerate(submissions)
        ]
        rows = await self._database.fetch(
            Sql.accept_jobs,
            {"items": Jsonb(items)},
            patience_seconds=PATIENCE_SECONDS,
        )
        return [_accepted(row) for row in rows]

    async def get(self, job_ids: list[UUID], owner: str | None, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Rows of job_records with these ids, in the order asked: the owner's, and those that a name may read."""
        rows = await self._database.fetch(
            Sql.jobs_by_id,
            {"ids": job_ids, "owner": owner, "names": list(names)},
            patience_seconds=PATIENCE_SECONDS,
        )
        return [read_record(row) for row in rows]

    async def visible(self, job_ids: list[UUID], owner: str | None, names: Sequence[str] = ()) -> set[UUID]:
        """Those of the ids that are ids of jobs which the owner may see, or which belong to what a name may read."""
        rows = await self._database.fetch(
            Sql.visible_ids,
            {"ids": job_ids, "owner": owner, "names": list(names)},
            patience_seconds=PATIENCE_SECONDS,
        )
        return {row["id"] for row in rows}

    async def readable_storyboards(self, job_ids: list[UUID], storyboard: str, names: Sequence[str]) -> set[str]:
        """Those among a storyboard and the storyboards of jobs where a name may read the jobs of others."""
        rows = await self._database.fetch(
            Sql.readable_storyboards,
            {"ids": job_ids, "storyboard": storyboard, "names": list(names)},
            patience_seconds=PATIENCE_SECONDS,
        )
        return {row["id"] for row in rows}

    async def search(
        self, job_filter: JobFilter, *, limit: int, before: tuple[datetime, UUID] | None
    ) -> list[dict[str, Any]]:
        """Rows of job_records, newest first, after the row that `before` names by creation time and id."""
        rows = await self._database.fetch(
            Sql.search_jobs,
            {
                **vars(job_filter),
                "names": list(job_filter.names),
                "states": list(job_filter.states),
                "limit": limit,
                "last_time": before[0] if before else None,
                "last_id": before[1] if before else None,
            },
            patience_seconds=PATIENCE_SECONDS,
        )
        return [read_record(row) for row in rows]

    async def queues(self) -> list[dict[str, Any]]:
        """Depth, age and work in flight of each queue."""
        return await self._database.fetch(Sql.queue_status, patience_seconds=PATIENCE_SECONDS)

    async def gates(self) -> list[dict[str, Any]]:
        """The closed gates. One that is closed without end is closed until the last time that an answer can hold."""
        return await self._database.fetch(
            Sql.closed_gates,
            patience_seconds=PATIENCE_SECONDS,
        )


def _accepted(row: dict[str, Any]) -> Accepted:
    outcome, refusal = row.pop("outcome"), row.pop("refusal")
    if refusal is not None:
        return Accepted(outcome, row, QuotaRefusal(refusal["quota"], refusal["retry_seconds"], refusal["message"]))
    return Accepted(outcome, read_record(row))
