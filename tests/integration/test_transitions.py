"""Claims, leases and endings of jobs on the real database (I1, I2, I4, I7, I9)."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.jobs.artifacts import Artifacts, NewArtifact
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.jobs.sweeps import Sweeper
from tests.integration.helpers import (
    ENDING,
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
    assert (await artifacts.stage([begun.id], stale)) is None
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
    assert (dead["state"], dead["error"]["code"]) == ("DEAD_LETTERED", "CALL_INTERRUPTED")


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


async def test_a_staged_job_is_never_claimed_and_its_lost_bytes_bring_it_back(database: Database) -> None:
    job_id = await accept(database, kind="video")
    job = await claim_one(video_queue(database))
    call = await intend(database, job)
    assert call is not None
    await Ledger(database).accept(call, "op")
    artifact = await stage(database, job)
    await expire_lease(database, VIDEO_QUEUE)
    assert await video_queue(database).claim(1, 60) == []
    assert await Artifacts(database).give_back(artifact, TRANSIENT, ENDING) == "RETRYING"
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
    assert await artifacts.stage([again.upload.artifact_id], again) == "STAGED"


async def _begin(artifacts: Artifacts, job: ClaimedJob) -> NewArtifact:
    (new,) = await artifacts.begin(job, staging_bucket="s", results=[FACTS])
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


async def test_racing_workers_take_every_job_once(database: Database) -> None:
    ids = {await accept(database) for _ in range(60)}
    claims = await asyncio.gather(*(image_queue(database, f"w{n}").claim(10, 60) for n in range(12)))
    claimed = [job.id for jobs in claims for job in jobs]
    assert len(claimed) == len(set(claimed))
    rest = await image_queue(database).claim(60, 60)
    assert {*claimed, *(job.id for job in rest)} == ids
