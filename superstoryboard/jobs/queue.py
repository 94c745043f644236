"""What a worker does with jobs: claims, leases, releases, retries, failures. Each is one function of the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements
from superstoryboard.domain.errors import JobError

PATIENCE_SECONDS = 60.0


class Sql(Statements):
    """Statements of queue.sql."""

    claim_jobs: LiteralString
    model_of_job: LiteralString
    close_gate: LiteralString
    extend_leases: LiteralString
    holds_lease: LiteralString
    release_job: LiteralString
    retry_job: LiteralString
    fail_job: LiteralString
    freeze_generation: LiteralString
    may_use_source: LiteralString
    report_progress: LiteralString


@dataclass(frozen=True)
class Operation:
    """A provider operation that was accepted and not yet settled: it is polled, never submitted again."""

    call_id: int
    route: str
    model: str
    name: str
    age_seconds: float


@dataclass(frozen=True)
class LostCall:
    """A submit whose answer was lost: its operation is looked for, for `left_seconds` more; it is never sent again.

    With no seconds left this is the last look.
    """

    call_id: int
    route: str
    model: str
    sent_at: datetime
    age_seconds: float
    left_seconds: float


@dataclass(frozen=True)
class Upload:
    """An artifact whose bytes an earlier claim may have left in staging; their hash where it came to record it."""

    artifact_id: UUID
    staging_key: str
    sha256: str | None


@dataclass(frozen=True)
class ClaimedJob:
    """A job that this process holds by its claim until the lease runs out.

    `raw_body` is the JSON text of an adopted message whose generation is not known yet, written by anyone and parsed by
    nobody so far; None where the generation is known, or where the body is too large or too strange to be read.
    """

    id: UUID
    kind: str
    owner: str
    claim: int
    attempt: int
    max_attempts: int
    queue: str
    msg_id: int
    generation: dict[str, Any] | None
    raw_body: str | None
    model: str
    traceparent: str = field(default="", repr=False)
    operation: Operation | None = None
    lost: LostCall | None = None
    upload: Upload | None = None


@dataclass(frozen=True)
class GateLimits:
    """Limits on the calls of one model that the whole fleet shares; 0 is no limit."""

    per_minute: int = 0
    per_day: int = 0
    running: int = 0


@dataclass(frozen=True)
class Gate:
    """Where a worker's calls pass: provider, default model, limits of each model. Empty where its jobs call none."""

    provider: str = ""
    model: str = ""
    limits: GateLimits = GateLimits()

    def values(self) -> dict[str, Any]:
        """Values of a statement that asks the gate."""
        return {"provider": self.provider, "gate_model": self.model, **vars(self.limits)}


class WorkQueue:
    """The claimed side of one queue, for a worker that serves some kinds of its jobs and leaves the others alone."""

    def __init__(self, database: Database, queue: str, kinds: Sequence[str], worker: str, gate: Gate) -> None:
        self._database = database
        self.queue = queue
        self.kinds = tuple(kinds)
        self.worker = worker
        self.gate = gate

    async def claim(
        self, quantity: int, lease_seconds: int, *, force: bool = False, held: Iterable[UUID] = ()
    ) -> list[ClaimedJob]:
        """Take up to `quantity` due jobs; what is already paid comes first. `force` also takes from a paused queue.

        Those `held` are not claimed anew; their leases are renewed.
        """
        rows = await self._database.fetch(
            Sql.claim_jobs,
            self.gate.values()
            | {
                "queue": self.queue,
                "kinds": list(self.kinds),
                "worker": self.worker,
                "quantity": quantity,
                "lease": lease_seconds,
                "force": force,
                "held": list(held),
            },
        )
        return [_claimed(row) for row in rows]

    async def model_of(self, job: ClaimedJob) -> str:
        """The model of a job, also of one whose body was read since it was claimed; empty where none is known."""
        if job.model:
            return job.model
        rows = await self._database.fetch(
            Sql.model_of_job,
            {"job": job.id},
            patience_seconds=PATIENCE_SECONDS,
        )
        return str(rows[0]["model"]) if rows else ""

    async def close_gate(self, model: str, seconds: float, reason: str) -> None:
        """Stop the submits of a model for everyone; what is already paid goes on."""
        await self._database.fetch(
            Sql.close_gate,
            {"provider": self.gate.provider, "model": model or self.gate.model, "seconds": seconds, "reason": reason},
            patience_seconds=PATIENCE_SECONDS,
        )

    async def extend(self, jobs: list[ClaimedJob], lease_seconds: int) -> set[UUID]:
        """Extend the leases of jobs in one round trip; those missing from the answer are lost."""
        rows = await self._database.fetch(
            Sql.extend_leases,
            {
                "queue": self.queue,
                "jobs": [job.id for job in jobs],
                "claims": [job.claim for job in jobs],
                "lease": lease_seconds,
            },
        )
        return {row["id"] for row in rows}

    async def holds_lease(self, job: ClaimedJob, seconds: int) -> bool:
        """True where the claim is unchanged and its lease lasts for `seconds` more."""
        values = {"job": job.id, "claim": job.claim, "seconds": seconds}
        row = await self._database.fetch_one(Sql.holds_lease, values, patience_seconds=PATIENCE_SECONDS)
        return bool(row["held"])

    async def release(self, job: ClaimedJob, delay_seconds: int, message: str) -> bool:
        """Give the job back and its attempt with it."""
        row = await self._database.fetch_one(
            Sql.release_job,
            {"job": job.id, "claim": job.claim, "delay": delay_seconds, "message": message},
            patience_seconds=PATIENCE_SECONDS,
        )
        return bool(row["done"])

    async def retry(self, job: ClaimedJob, delay_seconds: int, error: JobError, *, spend: bool) -> str | None:
        """End the attempt; the job comes back after the delay, or is buried where its last attempt is spent.

        Returns the job's state, or None for a stale claim.
        """
        row = await self._database.fetch_one(
            Sql.retry_job,
            {
                "job": job.id,
                "claim": job.claim,
                "delay": delay_seconds,
                "error": Jsonb(error.to_json()),
                "spend": spend,
            },
            patience_seconds=PATIENCE_SECONDS,
        )
        return row["state"]  # type: ignore[no-any-return]  # text or null

    async def fail(self, job: ClaimedJob, error: JobError) -> str | None:
        """End the job as FAILED. Returns its state, or None for a stale claim."""
        return await self._end(job, "FAILED", error)

    async def bury(self, job: ClaimedJob, error: JobError) -> str | None:
        """End the job as DEAD_LETTERED. Returns its state, or None for a stale claim."""
        return await self._end(job, "DEAD_LETTERED", error)

    async def _end(self, job: ClaimedJob, state: str, error: JobError) -> str | None:
        row = await self._database.fetch_one(
            Sql.fail_job,
            {"job": job.id, "claim": job.claim, "state": state, "error": Jsonb(error.to_json())},
            patience_seconds=PATIENCE_SECONDS,
        )
        return row["state"]  # type: ignore[no-any-return]  # text or null

    async def freeze(
        self, job: ClaimedJob, generation: dict[str, Any], provider: str, model: str, warnings: list[str]
    ) -> bool:
        """Keep what an adopted body was found to ask for. False for a stale claim."""
        row = await self._database.fetch_one(
            Sql.freeze_generation,
            {
                "job": job.id,
                "claim": job.claim,
                "generation": Jsonb(generation),
                "provider": provider,
                "model": model,
                "warnings": warnings,
            },
            patience_seconds=PATIENCE_SECONDS,
        )
        return bool(row["done"])

    async def may_use_source(self, job: ClaimedJob, storyboard: str) -> bool:
        """True where the job's owner may read the storyboard to which its source image belongs."""
        values = {"job": job.id, "storyboard": storyboard}
        return bool(
            (await self._database.fetch_one(Sql.may_use_source, values, patience_seconds=PATIENCE_SECONDS))["allowed"]
        )

    async def report(self, job: ClaimedJob, percent: int, message: str) -> int | None:
        """Tell watchers how far the job is. Returns its percentage now, which never falls; None for a stale claim."""
        row = await self._database.fetch_one(
            Sql.report_progress,
            {"job": job.id, "claim": job.claim, "percent": percent, "message": message},
            patience_seconds=PATIENCE_SECONDS,
        )
        return None if row["percent"] is None else int(row["percent"])


def _claimed(row: dict[str, Any]) -> ClaimedJob:
    job = {each.name: row[each.name] for each in fields(ClaimedJob) if each.name not in {"operation", "lost", "upload"}}
    return ClaimedJob(**job, operation=_operation(row), lost=_lost(row), upload=_upload(row))


def _operation(row: dict[str, Any]) -> Operation | None:
    if row["call_id"] is None or row["sent_at"] is not None:
        return None
    return Operation(
        call_id=row["call_id"],
        route=row["call_route"],
        model=row["call_model"],
        name=row["operation_name"],
        age_seconds=row["operation_age_seconds"],
    )


def _lost(row: dict[str, Any]) -> LostCall | None:
    if row["sent_at"] is None:
        return None
    return LostCall(
        call_id=row["call_id"],
        route=row["call_route"],
        model=row["call_model"],
        sent_at=row["sent_at"],
        age_seconds=row["sent_age_seconds"],
        left_seconds=row["search_left_seconds"],
    )


def _upload(row: dict[str, Any]) -> Upload | None:
    if row["upload_id"] is None:
        return None
    return Upload(artifact_id=row["upload_id"], staging_key=row["upload_key"], sha256=row["upload_sha256"])
