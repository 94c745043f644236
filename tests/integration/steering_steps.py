"""Steps and facts of the tests of cancel, retry, redrive and discard."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.jobs.steering import Refusal, Steering, Way
from superstoryboard.jobs.store import FrozenGeneration
from tests.integration.helpers import (
    ENDING,
    VIDEO_QUEUE,
    accept,
    claim_one,
    expire_lease,
    image_queue,
    intend,
    stage,
    video_queue,
)

BROKEN = JobError(ErrorClass.TRANSIENT, "INTERNAL", "it broke")

REFUSED = JobError(ErrorClass.REFUSED, "SAFETY", "no")

EDIT = FrozenGeneration(
    {"storyboardId": "board", "sceneId": "scene-2", "prompt": "a hare", "model": "m2"}, "google", "m2", ["m2 is old"]
)


async def cancel(steering: Steering, job_id: UUID) -> str | None:
    return await steering.cancel(job_id, owner=None, actor="operator")


async def retry(steering: Steering, job_id: UUID, *, accept_second_payment: bool = False) -> Way | Refusal:
    return await steering.retry(job_id, owner=None, actor="operator", accept_second_payment=accept_second_payment)


async def last_event(database: Database, job_id: UUID) -> tuple[str, str]:
    event = await database.fetch_one(
        "select state, message from superstoryboard.job_events where job_id = %(id)s order by sequence desc limit 1",
        {"id": job_id},
    )
    return event["state"], event["message"]


async def messages(database: Database) -> tuple[int, int]:
    """In the queues, and archived."""
    counts = await database.fetch_one(
        "select (select count(*) from pgmq.q_image_generation_queue)"
        " + (select count(*) from pgmq.q_video_generation_queue) as waiting,"
        " (select count(*) from pgmq.a_image_generation_queue)"
        " + (select count(*) from pgmq.a_video_generation_queue) as archived"
    )
    return counts["waiting"], counts["archived"]


async def calls(database: Database) -> list[tuple[Any, ...]]:
    rows = await database.fetch("select state, paid, waived_by from superstoryboard.provider_calls order by id")
    return [tuple(each.values()) for each in rows]


async def cut_video(database: Database) -> tuple[UUID, int]:
    """A video whose worker vanished between sending and the name; its job and its call."""
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    return job_id, call


async def forget_cancelled(database: Database) -> None:
    """As if a day had passed since jobs were cancelled."""
    swept = await database.fetch_one("select superstoryboard.sweep_cancelled_artifacts('0 s', 10) as swept")
    assert swept["swept"] == 1


async def film(database: Database) -> tuple[ClaimedJob, int]:
    """A claimed video whose operation runs, and its call."""
    job = await claim_one(video_queue(database))
    call = await intend(database, job)
    assert call is not None
    await Ledger(database).accept(call, "op")
    return job, call


async def buried_image(database: Database) -> tuple[UUID, UUID]:
    """A dead letter whose image was paid for and staged, and its artifact, which Storage refused."""
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    await intend(database, job)
    artifact = await stage(database, job)
    assert await Artifacts(database).bury(artifact, BROKEN, ENDING) == "DEAD_LETTERED"
    return job_id, artifact
