"""Claims, leases and endings of jobs on the real database (I1, I2, I4, I7, I9)."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from superstoryboard.jobs.artifacts import Artifacts, NewArtifact
from superstoryboard.jobs.database import Database
from superstoryboard.jobs.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.sweeps import Sweeper
from superstoryboard.jobs.work import ClaimedJob
from tests.integration.helpers import (
    FACTS,
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
    stage,
    submission,
    video_queue,
)

TRANSIENT = JobError(ErrorClass.TRANSIENT, "INTERNAL", "it broke")


async def test_a_job_goes_from_accept_to_archive_in_one_chain(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    assert (job.id, job.claim, job.attempt) == (job_id, 1, 1)
    assert await intend(database, job) is not None
    artifact = await stage(database, job)
    assert await finish(database, artifact) == ("SUCCEEDED", True)
    done = await row(database, job_id)
    assert (done["state"], done["progress_percent"], done["asset"]["sha256"]) == ("SUCCEEDED", 100, "ab" * 32)
    assert sql.execute("select count(*) from pgmq.q_image_generation_queue").fetchone() == (0,)
    assert sql.execute("select count(*) from pgmq.a_image_generation_queue").fetchone() == (1,)
    assert sql.execute("select state, paid from superstoryboard.provider_calls").fetchall() == [("SETTLED", True)]


async def test_finishing_twice_wins_once(database: Database) -> None:
    await accept(database)
    artifact = await stage(database, await claim_one(image_queue(database)))
    results = await asyncio.gather(*(finish(database, artifact) for _ in range(10)))
    assert sorted(results) == [("SUCCEEDED", False)] * 9 + [("SUCCEEDED", True)]


async def test_an_error_is_kept_whatever_texts_others_put_into_it(database: Database, sql: psycopg.Connection) -> None:
    """JSON may hold NUL and halves of characters, and the database refuses both."""
    job_id = await accept(database)
    work, job = image_queue(database), await claim_one(image_queue(database))
    call = await intend(database, job)
    assert call is not None
    error = JobError(ErrorClass.TRANSIENT, "INTERNAL", "nul \0, half \ud83d, fox \U0001f98a", ("A\0", "B\udc00"))
    await Ledger(database).settle(call, ProviderFailure(error, CallOutcome.UNPAID, raw_answer="raw \0 \ud83d"))
    assert await work.retry(job, 0, error, spend=True) == "RETRYING"
    kept = {"message": "nul ?, half ?, fox \U0001f98a", "provider_codes": ["A?", "B?"]}
    assert (await row(database, job_id))["error"].items() >= kept.items()
    ledger = sql.execute("select error from superstoryboard.provider_calls").fetchone()
    assert ledger is not None
    assert ledger[0].items() >= (kept | {"raw_answer": "raw ? ?"}).items()


async def test_a_leased_job_is_not_claimed_again_and_an_expired_one_is(database: Database) -> None:
    await accept(database)
    first = await claim_one(image_queue(database, "a"))
    assert await image_queue(database, "b").claim(5, 60) == []
    await expire_lease(database, IMAGE_QUEUE)
    second = await claim_one(image_queue(database, "b"))
    assert (second.id, second.claim, second.attempt) == (first.id, first.claim + 1, 1), "it had not called"


async def test_a_stale_claim_changes_nothing(database: Database) -> None:
    job_id = await accept(database)
    work = image_queue(database)
    stale = await claim_one(work)
    artifacts = Artifacts(database)
    begun = await _begin(artifacts, stale)
    await expire_lease(database, IMAGE_QUEUE)
    await claim_one(image_queue(database, "other"))
    before = await row(database, job_id)
    assert await work.extend([stale], 60) == set()
    assert not await work.holds_lease(stale, 1)
    assert not await work.release(stale, 0, "no")
    assert await work.retry(stale, 0, TRANSIENT, spend=True) is None
    assert await work.fail(stale, TRANSIENT) is None
    assert await work.bury(stale, TRANSIENT) is None
    assert not await work.report(stale, 50, "no")
    assert await intend(database, stale) is None
    assert (await artifacts.stage(begun.id, stale)) is None
    assert await row(database, job_id) == before


async def test_only_a_live_lease_is_extended(database: Database) -> None:
    await accept(database)
    work = image_queue(database)
    job = await claim_one(work, lease_seconds=5)
    assert not await work.holds_lease(job, 30)
    assert await work.extend([job], 60) == {job.id}
    assert await work.holds_lease(job, 30)


async def test_a_release_gives_the_attempt_back_and_a_retry_spends_it(database: Database) -> None:
    job_id = await accept(database)
    work = image_queue(database)
    assert await work.release(await claim_one(work), 0, "drained")
    assert (await row(database, job_id))["attempt"] == 0
    again = await claim_one(work)
    assert (again.claim, again.attempt) == (2, 1)
    assert await work.retry(again, 0, TRANSIENT, spend=True) == "RETRYING"
    assert await work.retry(again, 0, TRANSIENT, spend=True) == "RETRYING", "the same claim repeated counts as success"
    assert (await row(database, job_id))["attempt"] == 1


async def test_the_last_attempt_buries_the_job_and_archives_its_message(database: Database) -> None:
    job_id = await accept(database)
    work = image_queue(database)
    for _ in range(2):
        assert await work.retry(await claim_one(work), 0, TRANSIENT, spend=True) == "RETRYING"
    assert await work.retry(await claim_one(work), 0, TRANSIENT, spend=True) == "DEAD_LETTERED"
    dead = await row(database, job_id)
    assert (dead["state"], dead["attempt"], dead["error"]["code"]) == ("DEAD_LETTERED", 3, "INTERNAL")
    assert await work.claim(1, 60) == []


async def test_workers_that_vanish_after_their_calls_bury_the_job_in_the_end(database: Database) -> None:
    job_id = await accept(database)
    for attempt in range(1, 4):
        job = await claim_one(image_queue(database))
        assert job.attempt == attempt
        await intend(database, job)
        await expire_lease(database, IMAGE_QUEUE)
        await give_up_answer(database, await claim_one(image_queue(database)))
    assert await image_queue(database).claim(1, 60) == []
    dead = await row(database, job_id)
    assert (dead["state"], dead["error"]["code"]) == ("DEAD_LETTERED", "ANSWER_LOST")


async def test_workers_that_vanish_before_their_calls_spend_nothing_and_bury_the_job_in_the_end(
    database: Database,
) -> None:
    job_id = await accept(database)
    work = image_queue(database)
    for _ in range(10):
        assert (await claim_one(work)).attempt == 1
        await expire_lease(database, IMAGE_QUEUE)
        await Sweeper(database).sweep()
        await expire_lease(database, IMAGE_QUEUE)
    assert await work.claim(1, 60) == []
    dead = await row(database, job_id)
    assert (dead["state"], dead["attempt"], dead["error"]["code"]) == ("DEAD_LETTERED", 0, "WORKER_LOST")


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
            "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, model)"
            " values (%s, 1, 'f', 'r', 'm')",
            (job_id,),
        )


async def test_a_call_that_was_refused_before_acceptance_allows_another(database: Database) -> None:
    await accept(database, kind="video")
    job = await claim_one(video_queue(database))
    call = await intend(database, job)
    assert call is not None
    await Ledger(database).settle(call, ProviderFailure(TRANSIENT, CallOutcome.UNPAID))
    assert await intend(database, job) not in {None, call}


async def test_a_staged_job_is_never_claimed_and_its_lost_bytes_bring_it_back(database: Database) -> None:
    job_id = await accept(database, kind="video")
    job = await claim_one(video_queue(database))
    call = await intend(database, job)
    assert call is not None
    await Ledger(database).accept(call, "op")
    artifact = await stage(database, job)
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    assert await Artifacts(database).give_back(artifact, TRANSIENT) == "RETRYING"
    again = await claim_one(video_queue(database))
    assert again.id == job_id
    assert again.operation is not None, "the paid operation is fetched again, not paid again"


async def test_what_an_earlier_claim_uploaded_is_offered_to_the_next(database: Database) -> None:
    await accept(database)
    job = await claim_one(image_queue(database))
    await intend(database, job)
    artifacts = Artifacts(database)
    facts = (await _begin(artifacts, job)).staging_key
    await expire_lease(database, IMAGE_QUEUE)
    again = await claim_one(image_queue(database))
    assert again.upload is not None
    assert (again.upload.staging_key, again.attempt) == (facts, 1)
    assert await artifacts.stage(again.upload.artifact_id, again) == "STAGED"


async def _begin(artifacts: Artifacts, job: ClaimedJob) -> NewArtifact:
    new = await artifacts.begin(job, staging_bucket="s", bucket="b", path_prefix="board/scene-1", facts=FACTS)
    assert new is not None
    return new


async def test_two_artifacts_of_one_millisecond_get_two_paths(database: Database) -> None:
    work = image_queue(database)
    artifacts = Artifacts(database)
    for _ in range(20):
        await accept(database)
    jobs = await work.claim(20, 60)
    paths = {new.path for new in await asyncio.gather(*(_begin(artifacts, job) for job in jobs))}
    assert len(paths) == 20


@pytest.mark.parametrize("how", ["delete", "archive"])
async def test_a_message_removed_by_hand_cancels_its_job(database: Database, sql: psycopg.Connection, how: str) -> None:
    job_id = await accept(database)
    sql.execute(f"select pgmq.{how}('image_generation_queue', 1::bigint)")
    swept = {duty.name: duty.changed for duty in await Sweeper(database).sweep()}
    assert swept["cancel_removed"] == 1
    cancelled = await row(database, job_id)
    assert (cancelled["state"], cancelled["warnings"]) == ("CANCELLED", ["message removed"])


async def test_a_message_removed_while_the_artifact_is_staged_cancels_at_the_finish(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accept(database)
    artifact = await stage(database, await claim_one(image_queue(database)))
    sql.execute("select pgmq.purge_queue('image_generation_queue')")
    assert await finish(database, artifact) == ("CANCELLED", False)
    assert (await row(database, job_id))["warnings"] == ["message removed"]


async def test_two_sweeps_at_once_do_no_harm(database: Database, sql: psycopg.Connection) -> None:
    for _ in range(20):
        await accept(database)
        sql.execute("select pgmq.send('image_generation_queue', '{}')")
    sql.execute("delete from pgmq.q_image_generation_queue where msg_id <= 10")
    await asyncio.gather(*(Sweeper(database).sweep() for _ in range(4)))
    await Sweeper(database).sweep()
    counts = sql.execute(
        "select owner, state, count(*) from superstoryboard.jobs group by 1, 2 order by 1, 2"
    ).fetchall()
    assert counts == [
        ("alice", "CANCELLED", 5),
        ("alice", "QUEUED", 15),
        ("sql", "CANCELLED", 5),
        ("sql", "QUEUED", 15),
    ]


async def test_the_database_refuses_an_illegal_move_and_a_falling_claim(
    database: Database, sql: psycopg.Connection
) -> None:
    await accept(database)
    await claim_one(image_queue(database))
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot move from RUNNING to SUCCEEDED"):
        sql.execute("update superstoryboard.jobs set state = 'SUCCEEDED'")
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot fall"):
        sql.execute("update superstoryboard.jobs set claim = 0")


async def test_a_hundred_identical_submits_make_one_job(database: Database) -> None:
    store = JobStore(database)
    one = submission(request_id="r-1")
    answers = await asyncio.gather(*(store.accept([one]) for _ in range(100)))
    assert len({answer[0].job_id for answer in answers}) == 1
    assert sorted(answer[0].outcome for answer in answers) == ["created"] + ["existing"] * 99


async def test_batches_of_the_same_request_ids_in_opposite_order_do_not_deadlock(database: Database) -> None:
    store = JobStore(database)
    items = [submission(request_id=f"r-{n:03}") for n in range(50)]
    answers = await asyncio.gather(*(store.accept(items[::step]) for step in (1, -1) * 4))
    forward = {item.job_id for item in answers[0]}
    assert len(forward) == 50
    assert all({item.job_id for item in answer} == forward for answer in answers)


async def test_the_same_request_id_with_another_payload_is_a_conflict_and_of_another_owner_is_not(
    database: Database,
) -> None:
    store = JobStore(database)
    (first,) = await store.accept([submission(request_id="r")])
    (other,) = await store.accept([submission(request_id="r", submit_hash="else")])
    (foreign,) = await store.accept([submission(request_id="r", owner="bob")])
    assert (first.outcome, other.outcome, foreign.outcome) == ("created", "conflict", "created")


async def test_a_scheduled_job_waits(database: Database) -> None:
    await accept(database, delay_seconds=3600)
    assert await image_queue(database).claim(5, 60) == []


@pytest.mark.parametrize("body", ["[1, 2]", '"hi"', "{}", "null", "7", '{"prompt": {"a": [null]}}'])
async def test_any_body_is_adopted_and_stops_nobody(database: Database, sql: psycopg.Connection, body: str) -> None:
    sql.execute("select pgmq.send('image_generation_queue', %s::jsonb)", (body,))
    good = await accept(database)
    jobs = await image_queue(database).claim(5, 60)
    assert [job.owner for job in jobs] == ["sql", "alice"]
    assert jobs[1].id == good


async def test_a_queue_that_was_dropped_and_created_again_starts_new_jobs(
    database: Database, sql: psycopg.Connection
) -> None:
    old = await accept(database)
    sql.execute("drop view pgmq.image_generation_queue")
    sql.execute("select pgmq.drop_queue('image_generation_queue')")
    sql.execute("select pgmq.create('image_generation_queue')")
    ours = await database.fetch_one("select current_user as name")
    sql.execute(f"alter table pgmq.q_image_generation_queue owner to {ours['name']}")
    new = await accept(database)
    sql.execute("select pgmq.send('image_generation_queue', '{}')")
    jobs = await image_queue(database).claim(5, 60)
    assert [(job.owner, job.msg_id) for job in jobs] == [("alice", 1), ("sql", 2)], "without our triggers, too"
    assert jobs[0].id == new
    removed = await row(database, old)
    assert (removed["state"], removed["warnings"]) == ("CANCELLED", ["message removed"])
    assert (await row(database, new))["rank"] > removed["rank"]


async def test_racing_workers_take_every_job_once(database: Database) -> None:
    ids = {await accept(database) for _ in range(60)}
    claims = await asyncio.gather(*(image_queue(database, f"w{n}").claim(10, 60) for n in range(12)))
    taken = [job.id for jobs in claims for job in jobs]
    assert len(taken) == len(set(taken))
    rest = await image_queue(database).claim(60, 60)
    assert {*taken, *(job.id for job in rest)} == ids


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
