"""Cancel, retry, redrive, discard and pause on the real database (G4, G5; I2, I4, I9)."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.database import Database
from superstoryboard.jobs.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.steering import Edit, Refusal, Refused, Steering, Way
from superstoryboard.jobs.work import ClaimedJob
from tests.integration.helpers import (
    FACTS,
    VIDEO_QUEUE,
    accept,
    claim_one,
    expire_lease,
    finish,
    give_up_answer,
    image_queue,
    intend,
    row,
    stage,
    video_queue,
)

BROKEN = JobError(ErrorClass.TRANSIENT, "INTERNAL", "it broke")
REFUSED = JobError(ErrorClass.REFUSED, "SAFETY", "no")
EDIT = Edit(
    {"storyboardId": "board", "sceneId": "scene-2", "prompt": "a hare", "model": "m2"}, "google", "m2", ["m2 is old"]
)


@pytest.fixture
def steering(database: Database) -> Steering:
    return Steering(database)


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


async def test_the_operation_of_a_cancelled_video_is_recorded_and_a_retry_polls_it_on(
    database: Database, steering: Steering
) -> None:
    job_id = await accept(database, kind="video")
    call = await intend(database, await claim_one(video_queue(database)))
    assert call is not None
    await cancel(steering, job_id)
    await Ledger(database).accept(call, "late")
    assert (await row(database, job_id))["state"] == "CANCELLED"
    assert await retry(steering, job_id) is Way.POLL_ON
    resumed = await claim_one(video_queue(database))
    assert resumed.operation is not None
    assert (resumed.id, resumed.operation.name, resumed.attempt) == (job_id, "late", 0)


async def test_a_cancelled_video_whose_bytes_are_gone_is_fetched_again_unpaid(
    database: Database, steering: Steering
) -> None:
    job_id = await accept(database, kind="video")
    job, _ = await film(database)
    await stage(database, job)
    await cancel(steering, job_id)
    await forget_cancelled(database)
    assert await retry(steering, job_id) is Way.POLL_ON
    resumed = await claim_one(video_queue(database))
    assert resumed.operation is not None
    assert await intend(database, resumed) is None


async def test_a_failed_job_starts_again_from_nothing(database: Database, steering: Steering) -> None:
    job_id = await accept(database)
    work = image_queue(database)
    stale = await claim_one(work)
    assert await work.fail(stale, REFUSED) == "FAILED"
    old = await row(database, job_id)
    assert await retry(steering, job_id) is Way.NEW_CALL
    new = await row(database, job_id)
    assert (new["state"], new["attempt"], new["error"], new["ended_at"]) == ("QUEUED", 0, None, None)
    assert new["rank"] > old["rank"]
    assert new["msg_id"] != old["msg_id"]
    assert await last_event(database, job_id) == ("QUEUED", "Started again by operator")
    assert await work.fail(stale, REFUSED) is None, "whoever held it before changes nothing"
    assert not await work.release(stale, 3600, "no")
    again = await claim_one(work)
    assert (again.id, again.attempt) == (job_id, 1)
    assert again.claim > stale.claim


async def test_a_job_that_goes_on_or_succeeded_is_not_started_again(database: Database, steering: Steering) -> None:
    job_id = await accept(database)
    assert await retry(steering, job_id) is Refusal.JOB_STATE
    await finish(database, await stage(database, await claim_one(image_queue(database))))
    assert await retry(steering, job_id) is Refusal.JOB_STATE
    assert await messages(database) == (0, 1)


async def test_an_artifact_that_storage_refused_is_written_again_without_a_call(
    database: Database, steering: Steering
) -> None:
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    await intend(database, job)
    artifact = await stage(database, job)
    assert await Artifacts(database).bury(artifact, BROKEN) == "DEAD_LETTERED"
    assert await steering.redrive([job_id], actor="operator") is None
    back = await row(database, job_id)
    assert (back["state"], back["error"], back["progress_percent"]) == ("STAGED", None, 90)
    assert await image_queue(database).claim(5, 60) == []
    (leased,) = await Artifacts(database).claim(artifact_id=artifact, quantity=1, lease_seconds=60, min_age_seconds=0)
    assert leased.write_attempt == 1
    assert await finish(database, artifact) == ("SUCCEEDED", True)
    assert await messages(database) == (0, 2)
    assert await calls(database) == [("SETTLED", True, None)]


async def test_a_perhaps_paid_video_starts_again_only_where_a_second_payment_is_accepted(
    database: Database, steering: Steering
) -> None:
    job_id, _ = await cut_video(database)
    before = await row(database, job_id)
    assert await steering.redrive([job_id], actor="operator") == Refused(job_id, Refusal.SECOND_PAYMENT)
    assert await retry(steering, job_id) is Refusal.SECOND_PAYMENT
    assert await row(database, job_id) == before
    assert await steering.redrive([job_id], actor="operator", accept_second_payment=True) is None
    assert await calls(database) == [("UNKNOWN", None, "operator")]
    assert await intend(database, await claim_one(video_queue(database))) is not None
    assert [call[0] for call in await calls(database)] == ["UNKNOWN", "INTENT"]


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_what_was_paid_for_nothing_starts_again_only_where_a_second_payment_is_accepted(
    database: Database, steering: Steering, kind: str
) -> None:
    job_id = await accept(database, kind=kind)
    work = image_queue(database) if kind == "image" else video_queue(database)
    job = await claim_one(work)
    call = await intend(database, job)
    assert call is not None
    await Ledger(database).settle(call, ProviderFailure(BROKEN, CallOutcome.PAID))
    await work.bury(job, BROKEN)
    assert await retry(steering, job_id) is Refusal.SECOND_PAYMENT
    assert await retry(steering, job_id, accept_second_payment=True) is Way.NEW_CALL
    assert await intend(database, await claim_one(work)) is not None
    assert await calls(database) == [("SETTLED", True, "operator"), ("INTENT", None, None)]


async def test_the_agreement_to_a_second_payment_is_for_that_one_call(database: Database, steering: Steering) -> None:
    job_id, _ = await cut_video(database)
    assert await retry(steering, job_id, accept_second_payment=True) is Way.NEW_CALL
    assert await intend(database, await claim_one(video_queue(database))) is not None
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    assert (await row(database, job_id))["state"] == "DEAD_LETTERED"
    assert await retry(steering, job_id) is Refusal.SECOND_PAYMENT


async def test_the_late_name_of_a_waived_call_is_kept_and_disturbs_nothing(
    database: Database, steering: Steering
) -> None:
    job_id, waived = await cut_video(database)
    await retry(steering, job_id, accept_second_payment=True)
    _, second = await film(database)
    await Ledger(database).accept(waived, "late")
    rows = await database.fetch(
        "select id, state, paid, operation_name from superstoryboard.provider_calls order by id"
    )
    assert [tuple(each.values()) for each in rows] == [
        (waived, "SETTLED", True, "late"),
        (second, "ACCEPTED", None, "op"),
    ]


async def test_an_intent_whose_worker_may_still_send_counts_as_perhaps_paid(
    database: Database, steering: Steering
) -> None:
    job_id = await accept(database, kind="video")
    assert await intend(database, await claim_one(video_queue(database))) is not None
    await cancel(steering, job_id)
    assert await retry(steering, job_id) is Refusal.SECOND_PAYMENT
    assert await retry(steering, job_id, accept_second_payment=True) is Way.NEW_CALL
    assert await calls(database) == [("UNKNOWN", None, "operator")]


async def test_an_image_of_unknown_outcome_starts_again_and_is_counted(database: Database, steering: Steering) -> None:
    job_id = await accept(database)
    assert await intend(database, await claim_one(image_queue(database))) is not None
    await cancel(steering, job_id)
    assert await retry(steering, job_id) is Way.NEW_CALL
    await give_up_answer(database, await claim_one(image_queue(database)))
    assert await intend(database, await claim_one(image_queue(database))) is not None
    assert [call[0] for call in await calls(database)] == ["UNKNOWN", "INTENT"]


async def test_an_edited_generation_replaces_what_was_asked_for_and_reuses_nothing(
    database: Database, steering: Steering
) -> None:
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    await intend(database, job)
    artifact = await stage(database, job)
    await Artifacts(database).bury(artifact, BROKEN)
    assert await steering.redrive([job_id], actor="operator", edit=EDIT) is None
    edited = await row(database, job_id)
    assert (edited["state"], edited["generation"], edited["model"]) == ("QUEUED", EDIT.generation, "m2")
    assert (edited["scene_id"], edited["warnings"]) == ("scene-2", ["m2 is old"])
    assert await last_event(database, job_id) == ("QUEUED", "Started again by operator, edited")
    assert await finish(database, artifact) == ("QUEUED", False)
    again = await claim_one(image_queue(database))
    assert (again.generation, again.upload) == (EDIT.generation, None)
    body = await database.fetch_one("select message from pgmq.q_image_generation_queue")
    assert body["message"] == EDIT.generation


async def test_an_edited_video_never_shows_what_was_filmed_before(database: Database, steering: Steering) -> None:
    job_id = await accept(database, kind="video")
    job, _ = await film(database)
    await Artifacts(database).bury(await stage(database, job), BROKEN)
    assert await steering.redrive([job_id], actor="operator", edit=EDIT) is None
    assert await cancel(steering, job_id) == "QUEUED"
    assert await retry(steering, job_id) is Way.NEW_CALL
    assert (await claim_one(video_queue(database))).operation is None


async def test_an_edit_is_refused_while_a_paid_operation_can_be_polled(database: Database, steering: Steering) -> None:
    job_id = await accept(database, kind="video")
    job, _ = await film(database)
    assert await video_queue(database).bury(job, BROKEN) == "DEAD_LETTERED"
    refusal = await steering.redrive([job_id], actor="operator", edit=EDIT, accept_second_payment=True)
    assert refusal == Refused(job_id, Refusal.JOB_OPERATION_RUNNING)
    assert await steering.redrive([job_id], actor="operator") is None
    assert (await claim_one(video_queue(database))).operation is not None


async def test_an_upload_that_was_cut_is_offered_again_but_not_after_an_edit(
    database: Database, steering: Steering
) -> None:
    job_id = await accept(database)
    for edit, offered in ((None, True), (EDIT, False)):
        job = await claim_one(image_queue(database))
        if job.upload is None:
            new = await Artifacts(database).begin(
                job, staging_bucket="s", bucket="b", path_prefix="board/scene-1", facts=FACTS
            )
            assert new is not None
        assert await image_queue(database).bury(job, BROKEN) == "DEAD_LETTERED"
        assert await steering.redrive([job_id], actor="operator", edit=edit) is None
        again = await claim_one(image_queue(database))
        assert (again.upload is not None) == offered
        await image_queue(database).release(again, 0, "back")


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
    await Artifacts(database).bury(artifact, BROKEN)
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
    who = await database.fetch_one("select paused_by from superstoryboard.queues where kind = 'image'")
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
        new = await artifacts.begin(job, staging_bucket="s", bucket="b", path_prefix="board/x", facts=FACTS)
        if number == 0:
            await work.retry(job, 0, BROKEN, spend=True)
        elif new is not None and await artifacts.stage(new.id, job) == "STAGED":
            await finish(database, new.id)


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
