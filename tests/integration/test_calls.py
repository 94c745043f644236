"""Calls of providers on the real database: resumed, never doubled, and settled once (I2)."""

from __future__ import annotations

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from tests.integration.helpers import (
    IMAGE_QUEUE,
    VIDEO_QUEUE,
    accept,
    claim_one,
    expire_lease,
    give_up_answer,
    image_queue,
    intend,
    row,
    video_queue,
)

TRANSIENT = JobError(ErrorClass.TRANSIENT, "INTERNAL", "it broke")


async def test_an_accepted_operation_is_resumed_and_never_submitted_again(database: Database) -> None:
    await accept(database, kind="video")
    first = await claim_one(video_queue(database))
    call = await intend(database, first)
    assert call is not None
    await Ledger(database).accept(call, "models/m/operations/op1")
    await expire_lease(database, VIDEO_QUEUE)
    second = await claim_one(video_queue(database, "other"))
    assert second.operation is not None
    assert (second.operation.name, second.operation.route) == ("models/m/operations/op1", "r")
    assert second.attempt == 1, "a resume spends no attempt"
    assert await intend(database, second) is None


async def test_a_paid_operation_is_resumed_from_a_paused_queue_and_others_wait(
    database: Database, sql: psycopg.Connection
) -> None:
    paid_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await Ledger(database).accept(call, "op")
    await accept(database, kind="video")
    await expire_lease(database, VIDEO_QUEUE)
    sql.execute("update superstoryboard.queues set paused = true")
    assert [job.id for job in await video_queue(database).claim(5, 60)] == [paid_id]
    assert len(await video_queue(database).claim(5, 60, force=True)) == 1


async def test_a_submit_without_a_name_goes_to_the_dead_letters_and_a_late_name_brings_it_back(
    database: Database,
) -> None:
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    dead = await row(database, job_id)
    assert (dead["state"], dead["error"]["class"]) == ("DEAD_LETTERED", "UNKNOWN_OUTCOME")
    await Ledger(database).accept(call, "late-name")
    resumed = await claim_one(video_queue(database))
    assert resumed.id == job_id
    assert resumed.operation is not None
    assert resumed.operation.name == "late-name"


async def test_a_job_given_back_during_its_submit_is_buried_and_stops_nobody(database: Database) -> None:
    cut_id = await accept(database, kind="video")
    work = video_queue(database)
    cut = await claim_one(work)
    assert await intend(database, cut) is not None
    assert await work.release(cut, 0, "drained")
    next_id = await accept(database, kind="video")
    assert [job.id for job in await work.claim(5, 60)] == [next_id]
    assert (await row(database, cut_id))["state"] == "DEAD_LETTERED"


async def test_an_image_call_of_unknown_outcome_is_repeated_and_counted(
    database: Database, sql: psycopg.Connection
) -> None:
    await accept(database)
    assert await intend(database, await claim_one(image_queue(database))) is not None
    await expire_lease(database, IMAGE_QUEUE)
    second = await claim_one(image_queue(database))
    assert await intend(database, second) is None, "what the first call may have left was not looked for"
    await give_up_answer(database, second)
    third = await claim_one(image_queue(database))
    assert (second.attempt, third.attempt) == (1, 2)
    assert await intend(database, third) is not None
    states = sql.execute("select state from superstoryboard.provider_calls order by id").fetchall()
    assert states == [("UNKNOWN",), ("INTENT",)]


async def test_a_job_never_has_two_unsettled_calls(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    assert await intend(database, await claim_one(image_queue(database))) is not None
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql.execute(
            "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, shape, model)"
            " values (%s, 1, 'f', 'r', 'ANSWER', 'm')",
            (job_id,),
        )


async def test_a_call_that_was_refused_before_acceptance_allows_another(database: Database) -> None:
    await accept(database, kind="video")
    job = await claim_one(video_queue(database))
    call = await intend(database, job)
    assert call is not None
    await Ledger(database).settle(call, ProviderFailure(TRANSIENT, CallOutcome.UNPAID))
    assert await intend(database, job) not in {None, call}


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_paid_call_that_left_nothing_is_not_repeated_whenever_its_worker_died(
    database: Database, kind: str
) -> None:
    job_id = await accept(database, kind=kind)
    work = image_queue(database) if kind == "image" else video_queue(database)
    call = await intend(database, await claim_one(work))
    assert call is not None
    gone = JobError(ErrorClass.UNKNOWN_OUTCOME, "VIDEO_GONE", "gone")
    await Ledger(database).settle(call, ProviderFailure(gone, CallOutcome.PAID))
    await expire_lease(database, work.queue)
    assert await work.claim(1, 60) == []
    buried = await row(database, job_id)
    assert (buried["state"], buried["error"]["code"]) == ("DEAD_LETTERED", "VIDEO_GONE")


async def test_a_claim_passes_by_a_call_that_is_being_settled(database: Database, database_url: str) -> None:
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    await expire_lease(database, VIDEO_QUEUE)
    with psycopg.connect(database_url) as settling:
        settling.execute("select superstoryboard.settle_call_v1(%s::bigint, false, null)", (call,))
        assert await video_queue(database, "worker-2").claim(1, 60) == []
        settling.commit()
    assert len(await video_queue(database, "worker-2").claim(1, 60)) == 1
    assert await database.fetch_one("select state, paid from superstoryboard.provider_calls") == {
        "state": "SETTLED",
        "paid": False,
    }
    assert (await row(database, job_id))["state"] == "RUNNING"


async def test_a_call_that_was_never_sent_brings_its_buried_job_back(database: Database) -> None:
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database, "worker-2").claim(1, 60) == []
    assert (await row(database, job_id))["state"] == "DEAD_LETTERED"
    await Ledger(database).withdraw(call)
    assert (await row(database, job_id))["state"] == "QUEUED"
    again = await claim_one(video_queue(database, "worker-2"))
    assert again.operation is None
    assert await intend(database, again) is not None
