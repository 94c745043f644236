"""Cancel, retry, redrive, discard and pause on the real database (G4, G5; I2, I4, I9)."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import psycopg

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.steering import Refusal, Refused, Steering, Way
from tests.integration.helpers import (
    ENDING,
    FACTS,
    VIDEO_QUEUE,
    accept,
    claim_one,
    finish,
    image_queue,
    intend,
    row,
    stage,
)
from tests.integration.steering_steps import (
    BROKEN,
    REFUSED,
    cancel,
    cut_video,
    forget_cancelled,
    last_event,
    messages,
    retry,
)


async def test_a_waiting_a_running_and_a_retrying_job_are_cancelled_and_their_messages_archived(
    database: Database, steering: Steering
) -> None:
    work = image_queue(database)
    retrying = await accept(database)
    assert await work.retry(await claim_one(work), 60, BROKEN, spend=True) == "RETRYING"
    running = await accept(database)
    claimed = await claim_one(work)
    queued = await accept(database)
    assert [await cancel(steering, job) for job in (queued, running, retrying)] == ["QUEUED", "RUNNING", "RETRYING"]
    assert await messages(database) == (0, 3)
    for job in (queued, running, retrying):
        cancelled = await row(database, job)
        assert (cancelled["state"], cancelled["warnings"]) == ("CANCELLED", [])
        assert await last_event(database, job) == ("CANCELLED", "Cancelled by operator")
    assert await work.extend([claimed], 60) == set()
    assert not await work.report(claimed, 50, "no")
    assert await intend(database, claimed) is None
    assert await work.retry(claimed, 0, BROKEN, spend=True) is None


async def test_a_cancelled_staged_job_is_never_finished(database: Database, steering: Steering) -> None:
    job_id = await accept(database)
    artifact = await stage(database, await claim_one(image_queue(database)))
    assert await cancel(steering, job_id) == "STAGED"
    assert await finish(database, artifact) == ("CANCELLED", False)
    state = await database.fetch_one("select state from superstoryboard.artifacts")
    assert state == {"state": "STAGED"}, "kept for a while, in case it is started again"
    assert (await row(database, job_id))["asset"] is None


async def test_cancelling_again_or_after_the_end_changes_nothing(database: Database, steering: Steering) -> None:
    cancelled = await accept(database)
    await cancel(steering, cancelled)
    done = await accept(database)
    await finish(database, await stage(database, await claim_one(image_queue(database))))
    before = [await row(database, job) for job in (cancelled, done)]
    assert [await cancel(steering, job) for job in (cancelled, done)] == ["CANCELLED", "SUCCEEDED"]
    assert [await row(database, job) for job in (cancelled, done)] == before


async def test_jobs_of_others_are_not_there(database: Database, steering: Steering) -> None:
    job_id = await accept(database)
    assert await steering.cancel(job_id, owner="bob", actor="bob") is None
    assert await steering.cancel(uuid4(), owner=None, actor="x") is None
    await cancel(steering, job_id)
    assert await steering.retry(job_id, owner="bob", actor="bob") is Refusal.NOT_FOUND
    assert await steering.retry(job_id, owner="alice", actor="alice") is Way.NEW_CALL


async def test_dead_letters_are_redriven_all_or_none(database: Database, steering: Steering) -> None:
    cut, _ = await cut_video(database)
    dead = await accept(database)
    await image_queue(database).bury(await claim_one(image_queue(database)), BROKEN)
    waiting = await accept(database)
    for others in ([cut], [waiting], [uuid4()]):
        refusal = await steering.redrive([dead, *others], actor="operator")
        assert refusal is not None
        assert refusal.job_id == others[0]
        assert (await row(database, dead))["state"] == "DEAD_LETTERED"
    assert await steering.redrive([dead, cut, dead], actor="operator", accept_second_payment=True) is None


async def test_discarding_gives_a_dead_letter_up_and_may_be_repeated(database: Database, steering: Steering) -> None:
    job_id = await accept(database)
    artifact = await stage(database, await claim_one(image_queue(database)))
    await Artifacts(database).bury(artifact, BROKEN, ENDING)
    waiting = await accept(database)
    assert await steering.discard([job_id, waiting], actor="operator") == Refused(waiting, Refusal.JOB_STATE)
    assert (await row(database, job_id))["state"] == "DEAD_LETTERED"
    assert await steering.discard([job_id], actor="operator") is None
    assert await steering.discard([job_id], actor="operator") is None
    assert await last_event(database, job_id) == ("CANCELLED", "Dead letter discarded by operator")
    await forget_cancelled(database)
    assert await database.fetch("select state from superstoryboard.artifacts") == [{"state": "DISCARDED"}]


async def test_dead_letters_are_listed_with_their_calls(database: Database, steering: Steering) -> None:
    cut, _ = await cut_video(database)
    await accept(database)
    work = image_queue(database)
    job = await claim_one(work)
    call = await intend(database, job)
    assert call is not None
    await Ledger(database).settle(call, ProviderFailure(BROKEN, CallOutcome.UNPAID))
    await work.bury(job, BROKEN)
    rows = await steering.dead_letters("", limit=10, before=None)
    counted = [(each["id"], each["provider_calls"], each["unknown_outcomes"]) for each in rows]
    assert counted == [(job.id, 0, 0), (cut, 1, 1)]
    after = await steering.dead_letters("", limit=10, before=(rows[0]["created_at"], rows[0]["id"]))
    assert [each["id"] for each in after] == [cut]
    assert [each["id"] for each in await steering.dead_letters(VIDEO_QUEUE, limit=10, before=None)] == [cut]
    assert [each["id"] for each in await steering.dead_letters("", job_ids=[cut], limit=10, before=None)] == [cut]


async def test_a_paused_queue_is_not_claimed_from_and_says_who_paused_it(
    database: Database, steering: Steering
) -> None:
    await accept(database)
    assert await steering.pause("image_generation_queue", paused=True, actor="operator")
    assert await image_queue(database).claim(1, 60) == []
    who = await database.fetch_one("select paused_by from superstoryboard.queues where name = 'image_generation_queue'")
    assert who == {"paused_by": "operator"}
    assert await steering.pause("image_generation_queue", paused=False, actor="operator")
    assert await claim_one(image_queue(database)) is not None
    assert not await steering.pause("nobody", paused=True, actor="operator")


async def test_a_cancel_against_claims_heartbeats_and_endings_leaves_every_job_whole(
    database: Database, steering: Steering
) -> None:
    for round_number in range(1, 9):
        jobs = [await accept(database, generation={"sceneId": f"s{n}"}) for n in range(6)]
        await asyncio.gather(
            *(claim_and_end(database, worker) for worker in ("a", "b", "c")),
            *(cancel_all(steering, jobs[::order]) for order in (1, -1)),
        )
        assert await messages(database) == (0, len(jobs) * round_number)
        states = {(await row(database, job))["state"] for job in jobs}
        assert states <= {"CANCELLED", "SUCCEEDED"}
        open_rows = (
            "select a.id from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id"
            " where a.state in ('UPLOADING', 'STAGED') and j.state <> 'CANCELLED'"
        )
        assert await database.fetch(open_rows) == []


async def claim_and_end(database: Database, worker: str) -> None:
    """A worker that takes up to three jobs, keeps their leases, retries one and brings the others to their end."""
    work = image_queue(database, worker)
    claimed = await work.claim(3, 60)
    await work.extend(claimed, 60)
    for number, job in enumerate(claimed):
        await intend(database, job)
        artifacts = Artifacts(database)
        begun = await artifacts.begin(job, staging_bucket="s", results=[FACTS])
        if number == 0:
            await work.retry(job, 0, BROKEN, spend=True)
        elif begun and await artifacts.stage([begun[0].id], job) == "STAGED":
            await finish(database, begun[0].id)


async def cancel_all(steering: Steering, jobs: list[UUID]) -> None:
    for job in jobs:
        await cancel(steering, job)


async def test_racing_redrives_start_a_job_once(database: Database, steering: Steering) -> None:
    job_id = await accept(database)
    for _ in range(5):
        await image_queue(database).bury(await claim_one(image_queue(database)), BROKEN)
        answers = await asyncio.gather(*(retry(steering, job_id) for _ in range(6)))
        assert sorted(answers) == [Refusal.JOB_STATE] * 5 + [Way.NEW_CALL]
        assert (await messages(database))[0] == 1


async def test_a_discard_and_a_redrive_at_once_end_in_one_of_both(database: Database, steering: Steering) -> None:
    for _ in range(5):
        job_id = await accept(database)
        await image_queue(database).bury(await claim_one(image_queue(database)), BROKEN)
        redriven, discarded = await asyncio.gather(
            steering.redrive([job_id], actor="operator"), steering.discard([job_id], actor="operator")
        )
        state = (await row(database, job_id))["state"]
        assert (redriven is None, discarded is None) == (state == "QUEUED", state == "CANCELLED")
        await cancel(steering, job_id)


async def test_the_result_of_a_redriven_job_takes_the_entity_from_a_job_enqueued_before(
    database: Database, sql: psycopg.Connection, steering: Steering
) -> None:
    first = await accept(database)
    await image_queue(database).fail(await claim_one(image_queue(database)), REFUSED)
    await accept(database)
    await finish(database, await stage(database, await claim_one(image_queue(database))))
    await retry(steering, first)
    await finish(database, await stage(database, await claim_one(image_queue(database))))
    assert sql.execute("select job_id from superstoryboard.entity_links").fetchall() == [(first,)]
    assert "superseded" not in (await row(database, first))["warnings"]
