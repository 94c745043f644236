"""What is paid is paid once and kept: limits on calls, late answers, late words, names behind locks (G1; I2, I4)."""

from __future__ import annotations

import asyncio

import pytest

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import CallRefusal, Ledger
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.jobs.steering import Refusal, Refused, Steering, Way
from superstoryboard.v1.job_pb2 import ImageGeneration, VideoGeneration
from superstoryboard.worker.attempt.errors import StaleClaimError
from superstoryboard.worker.attempt.intent import Intents
from superstoryboard.worker.loop import Limits, Worker
from tests.integration.helpers import (
    ENDING,
    IMAGE_QUEUE,
    VIDEO_QUEUE,
    accept,
    begin,
    claim_one,
    expire_lease,
    finish,
    give_up_answer,
    image_queue,
    intend,
    open_call,
    row,
    video_queue,
)
from tests.integration.paid_steps import FAULT, LOST, answered, as_owner, called, cancel, ledger


async def test_a_mistake_that_spends_nothing_pays_no_more_than_the_attempts(database: Database) -> None:
    job_id = await accept(database)
    work = image_queue(database)
    for _ in range(5):  # calls that are known to be unpaid never count
        job, call = await called(database)
        await Ledger(database).settle(call, ProviderFailure(FAULT, CallOutcome.UNPAID))
        await work.retry(job, 0, FAULT, spend=False)
    for _ in range(3):
        job, call = await called(database)
        await Ledger(database).settle(call, ProviderFailure(FAULT, CallOutcome.UNKNOWN))
        await work.retry(job, 0, FAULT, spend=False)
    job = await claim_one(work)
    opened = await open_call(database, job)
    assert (opened.call_id, opened.refused) == (None, CallRefusal.CALL_LIMIT_REACHED)
    await work.bury(job, FAULT)
    assert await Steering(database).redrive([job_id], actor="operator") is None
    assert (await open_call(database, await claim_one(work))).call_id is not None, "a person said so"


async def test_a_job_at_its_limit_of_calls_is_a_dead_letter(database: Database) -> None:
    job_id = await accept(database, max_attempts=1)
    job, call = await called(database)
    await Ledger(database).settle(call, ProviderFailure(FAULT, CallOutcome.UNKNOWN))
    await image_queue(database).release(job, 0, "an attempt that came back by mistake")
    work = image_queue(database)
    intents = Intents(work, Ledger(database))

    async def generate(job: ClaimedJob) -> str:
        await intents.open(job, ImageGeneration(model="m"), None, "gemini_image")
        raise AssertionError("a call was opened")

    worker = Worker(work, generate, Wakeups(None, QUEUE_CHANNEL), Limits(1, 60, 5, 30))
    (attempt,) = await worker.process(1, force=False)
    assert attempt.state == "DEAD_LETTERED"
    assert (await row(database, job_id))["error"]["code"] == "CALL_LIMIT_REACHED"


@pytest.mark.parametrize("trouble", ["cancelled", "database away"])
async def test_a_video_that_was_not_submitted_waits_for_no_person(database: Database, trouble: str) -> None:
    """Whatever stops a worker between the intent and the submit: it knows that nothing was sent, and says so."""
    job_id = await accept(database, kind="video")
    work = video_queue(database)
    opened: asyncio.Queue[int] = asyncio.Queue()

    async def prepare(call_id: int) -> None:
        opened.put_nowait(call_id)
        if trouble == "database away":
            raise DatabaseUnavailableError
        await asyncio.Event().wait()

    job = await claim_one(work)
    opening = asyncio.create_task(
        Intents(work, Ledger(database)).open(job, VideoGeneration(model="m"), None, "veo_gemini", prepare)
    )
    await opened.get()
    if trouble == "cancelled":
        opening.cancel()
    with pytest.raises((asyncio.CancelledError, DatabaseUnavailableError)):
        await opening
    assert await ledger(database) == [("SETTLED", False, None)]
    await expire_lease(database, VIDEO_QUEUE)
    again = await claim_one(video_queue(database, "other"))
    assert (again.id, await intend(database, again) is not None) == (job_id, True)


async def test_a_call_is_not_sent_after_its_job_was_cancelled_in_its_preparation(database: Database) -> None:
    job_id = await accept(database, kind="video")
    work = video_queue(database)
    job = await claim_one(work)

    async def prepare(_: int) -> None:
        await cancel(database, job_id)

    with pytest.raises(StaleClaimError):
        await Intents(work, Ledger(database)).open(job, VideoGeneration(model="m"), None, "veo_gemini", prepare)
    assert await ledger(database) == [("SETTLED", False, None)]


async def test_bytes_are_given_up_only_after_storage_said_so_again(database: Database) -> None:
    await accept(database)
    await called(database)
    await expire_lease(database, IMAGE_QUEUE)
    second = await claim_one(image_queue(database))
    assert second.upload is not None
    artifacts = Artifacts(database)
    upload = second.upload.artifact_id
    first_look = await artifacts.miss(upload, second, patience_seconds=60, error=LOST)
    assert first_look is not None
    assert 50 < first_look <= 60
    assert await image_queue(database).retry(second, 0, LOST, spend=False) == "RETRYING"
    third = await claim_one(image_queue(database))
    again = await artifacts.miss(upload, third, patience_seconds=60, error=LOST)
    assert again is not None
    assert 0 < again < first_look
    assert await artifacts.miss(upload, second, patience_seconds=0, error=LOST) is None, "a stale claim"
    assert await artifacts.miss(upload, third, patience_seconds=0.001, error=LOST) == 0
    assert await ledger(database) == [("UNKNOWN", None, None)]


async def test_what_may_be_in_staging_is_looked_for_whatever_the_gate_and_the_pause_say(database: Database) -> None:
    await accept(database)
    await called(database)
    await expire_lease(database, IMAGE_QUEUE)
    work = image_queue(database, "next")
    await work.close_gate("m", 3600, "QUOTA_EXHAUSTED")
    await Steering(database).pause(IMAGE_QUEUE, paused=True, actor="operator")
    looking = await claim_one(work)
    assert looking.upload is not None
    await give_up_answer(database, looking)
    assert await work.claim(1, 60) == [], "a call waits for both"


async def test_bytes_that_were_paid_and_are_gone_wait_for_a_person(database: Database) -> None:
    job_id = await accept(database)
    _, call = await called(database)
    await Ledger(database).settle_paid(call)
    await expire_lease(database, IMAGE_QUEUE)
    await give_up_answer(database, await claim_one(image_queue(database)))
    assert await image_queue(database).claim(1, 60) == []
    dead = await row(database, job_id)
    assert (dead["state"], dead["error"]["code"]) == ("DEAD_LETTERED", "PAID_RESULT_LOST")
    assert await as_owner(database, job_id) is Refusal.SECOND_PAYMENT


async def test_an_owner_who_cancels_and_retries_pays_nothing_again(database: Database) -> None:
    job_id = await accept(database)
    job, _ = await called(database)
    await cancel(database, job_id)
    assert await as_owner(database, job_id) is Way.NEW_CALL
    await cancel(database, job_id)
    assert await answered(database, job) == "CANCELLED", "kept for the case that it is started again"
    assert await ledger(database) == [("SETTLED", True, None)]
    for _ in range(3):
        assert await as_owner(database, job_id) is Way.WRITE_AGAIN
        await cancel(database, job_id)
    assert await as_owner(database, job_id) is Way.WRITE_AGAIN
    staged = await database.fetch_one("select id from superstoryboard.artifacts")
    assert await finish(database, staged["id"]) == ("SUCCEEDED", True)
    assert await ledger(database) == [("SETTLED", True, None)]


async def test_an_owner_who_retries_while_a_paid_answer_waits_for_storage_gets_that_answer(database: Database) -> None:
    job_id = await accept(database)
    job, call = await called(database)
    await Ledger(database).settle_paid(call)
    await cancel(database, job_id)
    assert await as_owner(database, job_id) is Way.NEW_CALL
    looking = await claim_one(image_queue(database))
    assert (looking.upload is not None, await intend(database, looking)) == (True, None)
    assert await answered(database, job) == "STAGED"
    assert await ledger(database) == [("SETTLED", True, None)]


async def test_what_was_cancelled_and_removed_is_paid_again_only_by_a_person(database: Database) -> None:
    job_id = await accept(database)
    job, _ = await called(database)
    assert await answered(database, job) == "STAGED"
    await cancel(database, job_id)
    await database.fetch("select superstoryboard.sweep_cancelled_artifacts('0 s', 10)")
    assert await as_owner(database, job_id) is Refusal.SECOND_PAYMENT
    accepting = Steering(database).retry(job_id, owner=None, actor="operator", accept_second_payment=True)
    assert await accepting is Way.NEW_CALL


async def test_redrive_never_pays_for_what_left_nothing_unless_told(database: Database) -> None:
    job_id = await accept(database)
    job, _ = await called(database)
    await begin(database, job)
    assert await answered(database, job) == "STAGED"
    staged = await database.fetch_one("select id from superstoryboard.artifacts where state = 'STAGED'")
    await Artifacts(database).bury(staged["id"], FAULT, ENDING)
    await database.fetch("update superstoryboard.artifacts set state = 'DISCARDED'")
    assert await Steering(database).redrive([job_id], actor="operator") == Refused(job_id, Refusal.SECOND_PAYMENT)
