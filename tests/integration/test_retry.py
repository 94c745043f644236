"""What starts again, what it reuses and when it may be paid for again (G4, G5; I2, I4)."""

from __future__ import annotations

import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.steering import Refusal, Refused, Steering, Way
from tests.integration.helpers import (
    ENDING,
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
from tests.integration.steering_steps import (
    BROKEN,
    EDIT,
    REFUSED,
    buried_image,
    calls,
    cancel,
    cut_video,
    film,
    forget_cancelled,
    last_event,
    messages,
    retry,
)


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
    job_id, artifact = await buried_image(database)
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
async def test_what_was_paid_result_lost_starts_again_only_where_a_second_payment_is_accepted(
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
    job_id, artifact = await buried_image(database)
    assert await steering.redrive([job_id], actor="operator", edit=EDIT) is None
    edited = await row(database, job_id)
    assert (edited["state"], edited["generation"], edited["model"]) == ("QUEUED", EDIT.generation, "m2")
    assert (edited["scene_id"], edited["warnings"]) == ("scene-2", ["m2 is old"])
    assert await last_event(database, job_id) == ("QUEUED", "Started again by operator with an edited request")
    assert await finish(database, artifact) == ("QUEUED", False)
    again = await claim_one(image_queue(database))
    assert (again.generation, again.upload) == (EDIT.generation, None)
    body = await database.fetch_one("select message from pgmq.q_image_generation_queue")
    assert body["message"] == EDIT.generation


async def test_an_edited_video_never_shows_what_was_filmed_before(database: Database, steering: Steering) -> None:
    job_id = await accept(database, kind="video")
    job, _ = await film(database)
    await Artifacts(database).bury(await stage(database, job), BROKEN, ENDING)
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
            assert await intend(database, job) is not None
        assert await image_queue(database).bury(job, BROKEN) == "DEAD_LETTERED"
        assert await steering.redrive([job_id], actor="operator", edit=edit) is None
        again = await claim_one(image_queue(database))
        assert (again.upload is not None) == offered
        await image_queue(database).release(again, 0, "back")
