"""Steps of the tests about what is paid."""

from __future__ import annotations

from uuid import UUID

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.jobs.steering import Refusal, Steering, Way
from tests.integration.helpers import (
    FACTS,
    claim_one,
    image_queue,
    intend,
)

FAULT = JobError(ErrorClass.TRANSIENT, "INTERNAL", "it broke")

LOST = JobError(ErrorClass.UNKNOWN_OUTCOME, "CALL_INTERRUPTED", "lost")


async def ledger(database: Database) -> list[tuple[str, bool | None, str | None]]:
    rows = await database.fetch("select state, paid, waived_by from superstoryboard.provider_calls order by id")
    return [(each["state"], each["paid"], each["waived_by"]) for each in rows]


async def called(database: Database) -> tuple[ClaimedJob, int]:
    """An image whose call was sent, and the call."""
    job = await claim_one(image_queue(database))
    call = await intend(database, job)
    assert call is not None
    return job, call


async def answered(database: Database, job: ClaimedJob) -> str | None:
    """The answer of its call comes, its bytes are in staging; the job's state."""
    artifacts = Artifacts(database)
    begun = await artifacts.begin(job, staging_bucket="artifact-staging", results=[FACTS])
    return await artifacts.stage([begun[0].id], job) if begun else None


async def as_owner(database: Database, job_id: UUID) -> Way | Refusal:
    return await Steering(database).retry(job_id, owner="alice", actor="alice")


async def cancel(database: Database, job_id: UUID) -> None:
    await Steering(database).cancel(job_id, owner="alice", actor="alice")
