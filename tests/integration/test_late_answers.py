"""Answers and names that come late are kept where nothing was called for since, and disturb nothing (I2, I4)."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.steering import Steering, Way
from tests.integration.helpers import (
    IMAGE_QUEUE,
    VIDEO_QUEUE,
    accept,
    claim_one,
    expire_lease,
    finish,
    give_up_answer,
    image_queue,
    intend,
    row,
    video_queue,
)
from tests.integration.paid_steps import FAULT, answered, as_owner, called, cancel, ledger
from tests.integration.steering_steps import cut_video
from tests.waiting import awaited


async def test_a_late_answer_wins_where_no_later_call_was_opened(database: Database) -> None:
    job_id = await accept(database)
    first, _ = await called(database)
    await expire_lease(database, IMAGE_QUEUE)
    second = await claim_one(image_queue(database, "second"))
    assert second.upload is not None
    assert second.upload.staging_key.startswith(f"{job_id}/{first.claim}/")
    assert await answered(database, first) == "STAGED"
    again = await Artifacts(database).stage([second.upload.artifact_id], first)
    assert again == "STAGED", "a commit whose answer was lost is repeated"
    assert await ledger(database) == [("SETTLED", True, None)]
    assert not await image_queue(database).report(second, 50, "the other is fenced out")
    assert await intend(database, second) is None
    assert await image_queue(database).retry(second, 0, FAULT, spend=True) is None
    staged = await database.fetch_one("select id from superstoryboard.artifacts where state = 'STAGED'")
    assert await finish(database, staged["id"]) == ("SUCCEEDED", True)


async def test_a_late_answer_brings_a_waiting_job_on(database: Database) -> None:
    job_id = await accept(database)
    first, _ = await called(database)
    await expire_lease(database, IMAGE_QUEUE)
    second = await claim_one(image_queue(database, "second"))
    assert await image_queue(database).retry(second, 600, FAULT, spend=False) == "RETRYING"
    assert await answered(database, first) == "STAGED"
    assert (await row(database, job_id))["state"] == "STAGED"
    await expire_lease(database, IMAGE_QUEUE)
    assert await image_queue(database).claim(1, 60) == []


async def test_a_late_answer_is_dropped_without_harm_after_a_later_call(database: Database) -> None:
    await accept(database)
    first, _ = await called(database)
    await expire_lease(database, IMAGE_QUEUE)
    await give_up_answer(database, await claim_one(image_queue(database, "second")))
    third, _ = await called(database)
    assert await answered(database, first) is None
    assert await ledger(database) == [("SETTLED", True, "a later call"), ("INTENT", None, None)]
    assert await answered(database, third) == "STAGED"
    keys = await database.fetch("select state, staging_key from superstoryboard.artifacts order by created_at")
    assert [each["state"] for each in keys] == ["DISCARDED", "STAGED"]
    assert len({each["staging_key"] for each in keys}) == 2


async def test_a_late_answer_brings_a_dead_letter_on(database: Database) -> None:
    job_id = await accept(database)
    job, _ = await called(database)
    rank = (await row(database, job_id))["rank"]
    assert await image_queue(database).bury(job, FAULT) == "DEAD_LETTERED"
    assert await answered(database, job) == "STAGED"
    going_on = await row(database, job_id)
    assert (going_on["state"], going_on["error"], going_on["ended_at"], going_on["rank"]) == (
        "STAGED",
        None,
        None,
        rank,
    )
    staged = await database.fetch_one("select id from superstoryboard.artifacts")
    assert await finish(database, staged["id"]) == ("SUCCEEDED", True)


async def test_an_answer_between_a_cancel_and_a_retry_is_used(database: Database) -> None:
    job_id = await accept(database)
    job, _ = await called(database)
    await cancel(database, job_id)
    assert await as_owner(database, job_id) is Way.NEW_CALL
    assert (await claim_one(image_queue(database))).upload is not None, "what was in flight is looked for first"
    assert await answered(database, job) == "STAGED"
    assert (await row(database, job_id))["state"] == "STAGED"


async def test_a_late_word_that_a_call_was_not_accepted_settles_it_and_brings_its_job_back(database: Database) -> None:
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database, "other").claim(1, 60) == []
    assert (await row(database, job_id))["error"]["code"] == "SUBMIT_INTERRUPTED"
    await Ledger(database).settle(call, ProviderFailure(FAULT, CallOutcome.UNPAID))
    assert await ledger(database) == [("SETTLED", False, None)]
    assert (await row(database, job_id))["state"] == "QUEUED"
    assert await intend(database, await claim_one(video_queue(database))) not in {None, call}


async def test_a_name_that_comes_after_another_call_was_opened_is_kept_as_paid(
    database: Database, sql: psycopg.Connection
) -> None:
    """No rule allows the second call; should a mistake, the first one's name is not refused for ever."""
    await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    sql.execute("update superstoryboard.provider_calls set state = 'UNKNOWN'")
    sql.execute(
        "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, shape, model)"
        " select job_id, claim, call_hash, route, shape, model from superstoryboard.provider_calls"
    )
    assert call is not None
    await asyncio.wait_for(Ledger(database).accept(call, "op"), timeout=60)
    record = sql.execute(
        "select state, paid from superstoryboard.provider_calls where operation_name = 'op'"
    ).fetchall()
    assert record == [("SETTLED", True)]


async def test_a_revived_jobs_message_says_what_the_job_asks_for(database: Database, sql: psycopg.Connection) -> None:
    """Not what the body of its first message said, where it was adopted and edited since."""
    _, call = await cut_video(database)
    sql.execute("""update superstoryboard.jobs set raw_body = '{"prompt": "of the first message"}'""")
    await Ledger(database).accept(call, "op")
    sent = f"select q.message = j.generation from pgmq.q_{VIDEO_QUEUE} q join superstoryboard.jobs j using (msg_id)"
    assert sql.execute(sent).fetchall() == [(True,)]


async def test_a_name_is_kept_while_somebody_locks_its_job(database: Database, database_url: str) -> None:
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database, "other").claim(1, 60) == []
    with psycopg.connect(database_url) as stranger:
        stranger.execute("select from superstoryboard.jobs where id = %s for update", (job_id,))
        accepting = asyncio.create_task(Ledger(database).accept(call, "op"))
        kept = "select 1 from superstoryboard.provider_calls where operation_name = 'op' and state = 'ACCEPTED'"
        await awaited(lambda: database.fetch(kept))  # a name that waits for a lock which is not its own never comes
        assert not accepting.done(), "reviving the job waits"
    await accepting
    resumed = await claim_one(video_queue(database))
    assert resumed.operation is not None
    assert (resumed.id, resumed.operation.name) == (job_id, "op")


@pytest.mark.parametrize("code", ["OPERATION_GONE", "VIDEO_GONE", "UNREADABLE_RESULT", "VIDEO_URL_MISSING"])
async def test_an_operation_that_was_said_to_be_gone_is_polled_again_before_a_new_call(
    database: Database, code: str
) -> None:
    job_id = await accept(database, kind="video")
    gone = ProviderFailure(JobError(ErrorClass.UNKNOWN_OUTCOME, code, "gone"), CallOutcome.PAID)
    steering = Steering(database)
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await Ledger(database).accept(call, "op")
    for accepts in (True, False, False):
        await Ledger(database).settle(call, gone)
        await expire_lease(database, VIDEO_QUEUE)
        assert await video_queue(database).claim(1, 60) == []
        assert (await row(database, job_id))["error"]["code"] == code
        assert await steering.redrive([job_id], actor="operator", accept_second_payment=accepts) is None
        resumed = await claim_one(video_queue(database))
        assert resumed.operation is not None
        assert resumed.operation.name == "op"
    await Ledger(database).settle(call, gone)
    await video_queue(database).bury(resumed, gone.error)
    assert await steering.redrive([job_id], actor="operator", accept_second_payment=True) is None
    fresh = await claim_one(video_queue(database))
    assert fresh.operation is None, "it was asked again, and a person accepts the payment"
    assert await intend(database, fresh) is not None
