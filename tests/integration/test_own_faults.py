"""Faults of our own: what is paid for waits, and only who is lost in a row is buried (I1, I2)."""

from __future__ import annotations

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.lost_operations import LostOperations
from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.worker.attempt.paid_calls import recorded
from superstoryboard.worker.loop import Limits, Worker
from tests.integration.helpers import (
    IMAGE_QUEUE,
    VIDEO_QUEUE,
    accept,
    claim_one,
    expire_lease,
    image_queue,
    intend,
    row,
    video_queue,
)
from tests.integration.paid_steps import called, ledger

LIMITS = Limits(concurrency=1, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)


async def fails(job: ClaimedJob) -> str:
    raise ValueError(f"a bug at {job.kind}s")


async def attempted(work: WorkQueue) -> str | None:
    (attempt,) = await Worker(work, fails, Wakeups(None, QUEUE_CHANNEL), LIMITS).process(1, force=False)
    return attempt.state


async def test_a_bug_at_the_rescue_of_an_answer_does_not_bury_it(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database, max_attempts=1)
    assert await intend(database, await claim_one(image_queue(database))) is not None
    for _ in range(3):
        await expire_lease(database, IMAGE_QUEUE)
        assert await attempted(image_queue(database)) == "RETRYING"
    assert (await row(database, job_id))["error"]["code"] == "INTERNAL"

    sql.execute("update superstoryboard.jobs set scheduled_at = scheduled_at - interval '8 days'")
    sql.execute("select superstoryboard.sweep()")
    assert (await row(database, job_id))["state"] == "DEAD_LETTERED"
    kept = sql.execute("select state from superstoryboard.artifacts where job_id = %s", (job_id,)).fetchall()
    assert kept == [("UPLOADING",)], "what may be in staging is kept for a redrive"


async def test_a_bug_at_the_search_of_an_operation_does_not_bury_it(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accept(database, kind="video", max_attempts=1)
    call_id = await intend(database, await claim_one(video_queue(database)))
    assert call_id is not None
    await LostOperations(database).search_for(call_id, 600)
    await expire_lease(database, VIDEO_QUEUE)
    assert await attempted(video_queue(database)) == "RETRYING"

    sql.execute("update superstoryboard.provider_calls set search_until = now() - interval '1 s'")
    await expire_lease(database, VIDEO_QUEUE)
    assert await attempted(video_queue(database)) == "RETRYING", "the last look"
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    dead = await row(database, job_id)
    assert (dead["state"], dead["error"]["code"]) == ("DEAD_LETTERED", "SUBMIT_INTERRUPTED"), "the search has its end"


@pytest.mark.parametrize("way", ["released", "waits", "failed"])
async def test_only_claims_lost_in_a_row_bury_a_job(database: Database, sql: psycopg.Connection, way: str) -> None:
    job_id = await accept(database)
    sql.execute("update superstoryboard.jobs set lost_claims = 9")
    work = image_queue(database)
    job = await claim_one(work)
    if way == "released":
        assert await work.release(job, 0, "Released")
    else:
        away = JobError(ErrorClass.UNAVAILABLE_DEPENDENCY, "CODE", "away")
        assert await work.retry(job, 0, away, spend=way == "failed") == "RETRYING"
    await claim_one(work)
    await expire_lease(database, IMAGE_QUEUE)
    await claim_one(work)
    assert (await row(database, job_id))["state"] == "RUNNING", "the tenth loss, and the first in a row"


async def test_a_bug_before_any_call_spends_attempts_as_ever(database: Database) -> None:
    await accept(database, max_attempts=1)
    assert await attempted(image_queue(database)) == "DEAD_LETTERED"


@pytest.mark.parametrize(
    ("unforeseen", "kept"), [(CallOutcome.UNKNOWN, ("UNKNOWN", None)), (CallOutcome.PAID, ("SETTLED", True))]
)
async def test_a_bug_during_a_paid_call_is_told_to_the_ledger(
    database: Database, unforeseen: CallOutcome, kept: tuple[str, bool | None]
) -> None:
    """What may have been charged is never recorded as free."""
    await accept(database)
    _, call_id = await called(database)

    async def buggy() -> str:
        raise ZeroDivisionError

    with pytest.raises(ProviderFailure) as caught:
        await recorded(Ledger(database), call_id, buggy(), unforeseen)
    assert (caught.value.error.error_class, caught.value.error.code) == (ErrorClass.UNKNOWN_OUTCOME, "INTERNAL")
    ((state, paid, _),) = await ledger(database)
    assert (state, paid) == kept
