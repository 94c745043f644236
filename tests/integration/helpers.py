"""Steps that many database tests take."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.domain.media import MediaFacts, MediaType
from superstoryboard.domain.routes import RouteShape
from superstoryboard.jobs.artifacts import Artifacts, Ending, NewArtifact
from superstoryboard.jobs.ledger import Ledger, OpenedCall
from superstoryboard.jobs.queue import ClaimedJob, Gate, GateLimits, WorkQueue
from superstoryboard.jobs.records import read_record
from superstoryboard.jobs.store import JobStore, Submission

KV = "kv_store_7ee7668a"
ENDING = Ending(KV, "archive")
IMAGE_QUEUE = "image_generation_queue"
VIDEO_QUEUE = "video_generation_queue"
FACTS = MediaFacts(media_type=MediaType.PNG, size_bytes=10, sha256="ab" * 32, width=16, height=9)


def submission(**changes: Any) -> Submission:
    generation = {"storyboardId": "board", "sceneId": "scene-1", "prompt": "a fox", "model": "m"}
    generation |= changes.pop("generation", {})
    values: dict[str, Any] = {
        "kind": "image",
        "owner": "alice",
        "request_id": None,
        "submit_hash": "hash",
        "generation": generation,
        "provider": "google",
        "model": "m",
        "labels": {},
        "max_attempts": 3,
    }
    return Submission(**(values | changes))


async def accept(database: Database, **changes: Any) -> UUID:
    accepted = await JobStore(database).accept([submission(**changes)])
    return accepted[0].job_id


def image_queue(database: Database, worker: str = "worker-1", **limits: int) -> WorkQueue:
    return WorkQueue(database, IMAGE_QUEUE, ["image"], worker, Gate("google", "m", GateLimits(**limits)))


def video_queue(database: Database, worker: str = "worker-1", **limits: int) -> WorkQueue:
    return WorkQueue(database, VIDEO_QUEUE, ["video"], worker, Gate("google", "m", GateLimits(**limits)))


async def claim_one(work: WorkQueue, lease_seconds: int = 60) -> ClaimedJob:
    (job,) = await work.claim(1, lease_seconds)
    return job


async def open_call(database: Database, job: ClaimedJob, **limits: int) -> OpenedCall:
    """The intent to call, by a route of the shape that jobs of its queue go by."""
    gate = Gate("google", "m", GateLimits(**limits))
    shape = RouteShape.ANSWER if job.queue == IMAGE_QUEUE else RouteShape.OPERATION
    ledger = Ledger(database)
    return await ledger.open(job, route="r", shape=shape, model="m", gate=gate, fingerprint="f", lease_seconds=1)


async def intend(database: Database, job: ClaimedJob) -> int | None:
    return (await open_call(database, job)).call_id


async def begin(database: Database, job: ClaimedJob) -> NewArtifact:
    (new,) = await Artifacts(database).begin(job, staging_bucket="artifact-staging", results=[FACTS])
    return new


async def give_up_answer(database: Database, job: ClaimedJob) -> None:
    """As a worker does that was told often enough that nothing of an earlier call is in staging; the job goes back."""
    assert job.upload is not None
    artifacts, lost = Artifacts(database), JobError(ErrorClass.UNKNOWN_OUTCOME, "CALL_INTERRUPTED", "lost")
    assert await artifacts.miss(job.upload.artifact_id, job, patience_seconds=0, error=lost) == 0
    assert await image_queue(database).retry(job, 0, lost, spend=False) == "RETRYING"


async def stage(database: Database, job: ClaimedJob) -> UUID:
    """Bring a claimed job to STAGED, as a worker does, and answer its artifact."""
    new = await begin(database, job)
    assert await Artifacts(database).stage([new.id], job) == "STAGED"
    return new.id


async def finish(database: Database, artifact_id: UUID, url: str = "http://storage/asset.png") -> tuple[str, bool]:
    return await Artifacts(database).finish(artifact_id, ENDING, url=url)


async def row(database: Database, job_id: UUID) -> dict[str, Any]:
    return read_record(
        await database.fetch_one("select * from superstoryboard.job_records where id = %(id)s", {"id": job_id})
    )


async def expire_lease(database: Database, queue: str) -> None:
    """As if the leases of all jobs in hand had run out, and the time of all that wait had come."""
    await database.fetch(
        "update superstoryboard.turns set lease_until = clock_timestamp() - interval '1 s'"
        " where queue = %(queue)s and lease_until is not null",
        {"queue": queue},
    )
    await database.fetch(
        "update superstoryboard.turns set due_at = clock_timestamp() - interval '1 s'"
        " where queue = %(queue)s and due_at is not null",
        {"queue": queue},
    )


def database_time(sql: psycopg.Connection) -> datetime:
    """What the database's clock says."""
    record = sql.execute("select clock_timestamp()").fetchone()
    assert record is not None
    return record[0]  # type: ignore[no-any-return]  # a timestamp


def first_due(sql: psycopg.Connection) -> datetime:
    """When the first image that waits, or is held, may be claimed."""
    record = sql.execute("select min(coalesce(due_at, lease_until)) from superstoryboard.turns").fetchone()
    assert record is not None
    return record[0]  # type: ignore[no-any-return]  # a timestamp
