"""Owners take turns at the claims, whoever has how many jobs (I11); among its own jobs an owner has its own order."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from uuid import UUID

import psycopg
import pytest

from benchmarks.claims import IN_ORDER
from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.domain.priorities import Priority
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from tests.faults.variants import change
from tests.integration.helpers import IMAGE_QUEUE, accept, claim_one, expire_lease, image_queue, intend, submission

CONCURRENCY = 8
FAULT = JobError(ErrorClass.TRANSIENT, "FAULT", "a passing fault")
TURN = "select turn from superstoryboard.turns where job = %s"


async def crowd(database: Database, owner: str, count: int, **changes: object) -> list[UUID]:
    """So many jobs of one owner, in the order of their sends."""
    items = [submission(owner=owner, **changes) for _ in range(count)]
    return [accepted.job_id for accepted in await JobStore(database).accept(items)]


async def claimed_owners(database: Database, count: int) -> list[str]:
    """Owners of the jobs that so many claims of one job give."""
    return [(await claim_one(image_queue(database))).owner for _ in range(count)]


async def test_two_thousand_jobs_of_one_owner_delay_anothers_by_a_few_claims(database: Database) -> None:
    owners = ["flood", "bob", "carol"]
    await crowd(database, "flood", 1000)
    await crowd(database, "flood", 1000)
    await asyncio.gather(*(image_queue(database, str(worker)).claim(1, 60) for worker in range(CONCURRENCY)))
    await accept(database, owner="bob")
    await accept(database, owner="carol")
    assert {"bob", "carol"} < set(await claimed_owners(database, CONCURRENCY + len(owners)))


async def test_a_flood_by_many_calls_at_once_gets_no_more_turns(database: Database) -> None:
    await asyncio.gather(*(accept(database, owner="flood") for _ in range(200)))
    await accept(database, owner="bob")
    assert "bob" in await claimed_owners(database, CONCURRENCY + 2)


async def test_a_flood_that_becomes_due_at_once_delays_no_owner(database: Database) -> None:
    await crowd(database, "flood", 1000, delay_seconds=60)
    await crowd(database, "flood", 1000, delay_seconds=60)
    for owner in ("bob", "carol"):
        await accept(database, owner=owner, delay_seconds=61)
    await expire_lease(database, IMAGE_QUEUE)
    assert {"bob", "carol"} < set(await claimed_owners(database, CONCURRENCY + 3))


async def test_a_flood_by_sql_delays_no_owner(database: Database, sql: psycopg.Connection) -> None:
    sql.execute("select pgmq.send(%s, '{}') from generate_series(1, 500)", (IMAGE_QUEUE,))
    await accept(database, owner="bob", model="m")
    assert "bob" in await claimed_owners(database, CONCURRENCY + 2)


async def test_owners_with_many_jobs_are_served_alike(database: Database) -> None:
    for owner in ("alice", "bob", "carol"):
        await crowd(database, owner, 20)
    owners = await claimed_owners(database, 30)
    assert {owner: owners.count(owner) for owner in owners} == {"alice": 10, "bob": 10, "carol": 10}


async def test_a_weight_gives_more_turns_from_the_next_job_on(database: Database, sql: psycopg.Connection) -> None:
    await crowd(database, "alice", 5)
    sql.execute("insert into superstoryboard.owner_weights values ('alice', 4)")
    await crowd(database, "bob", 30)
    await crowd(database, "alice", 30)
    owners = await claimed_owners(database, 20)
    assert owners[:10].count("alice") == 5, "what was due before keeps its turns"
    assert owners[10:].count("alice") == 8, "four to one"


async def test_an_owner_who_waited_saves_up_no_turns(database: Database) -> None:
    await crowd(database, "alice", 40)
    await claimed_owners(database, 20)
    await crowd(database, "late", 20)
    owners = await claimed_owners(database, 20)
    assert owners.count("late") == 10


@pytest.mark.parametrize("quantity", [1, 3])
async def test_the_best_job_of_an_owner_gets_its_turn(database: Database, quantity: int) -> None:
    batch = await crowd(database, "alice", 3, priority=Priority.BATCH)
    normal = await crowd(database, "alice", 3, priority=Priority.NORMAL)
    interactive = await crowd(database, "alice", 3, priority=Priority.INTERACTIVE)
    others = await crowd(database, "bob", 9, priority=Priority.BATCH)
    jobs: list[ClaimedJob] = []
    while len(jobs) < 18:
        jobs += await image_queue(database).claim(quantity, 60)
    assert [job.id for job in jobs if job.owner == "alice"] == interactive + normal + batch
    assert [job.id for job in jobs if job.owner == "bob"] == others
    assert [job.owner for job in jobs] == ["alice", "bob"] * 9, "a priority takes nothing from others"


async def test_a_retry_goes_before_the_later_jobs_of_its_owner_only(database: Database) -> None:
    jobs = await crowd(database, "alice", 4)
    await crowd(database, "bob", 4)
    work = image_queue(database)
    failed = await claim_one(work)
    assert failed.id == jobs[0]
    assert await work.retry(failed, 60, FAULT, spend=True) == "RETRYING"
    assert (await claim_one(work)).owner == "bob"
    await expire_lease(database, IMAGE_QUEUE)
    assert [(await claim_one(work)).id == failed.id, (await claim_one(work)).owner] == [True, "bob"]


async def test_what_is_given_back_keeps_its_turn(database: Database, sql: psycopg.Connection) -> None:
    first = await accept(database)
    work = image_queue(database)
    job = await claim_one(work)
    had = sql.execute(TURN, (first,)).fetchone()
    assert await work.release(job, 0, "drained")
    assert sql.execute(TURN, (first,)).fetchone() == had


async def test_a_redriven_job_takes_a_turn_of_now(database: Database, sql: psycopg.Connection) -> None:
    failed = await accept(database, owner="alice")
    await image_queue(database).fail(await claim_one(image_queue(database)), FAULT)
    await crowd(database, "bob", 10)
    await claimed_owners(database, 5)
    assert await Steering(database).retry(failed, owner=None, actor="operator") == "NEW_CALL"
    assert "alice" in await claimed_owners(database, 2)
    assert sql.execute("select turn >= 5 from superstoryboard.turns where job = %s", (failed,)).fetchone() == (True,)


async def test_a_model_whose_gate_was_closed_holds_up_no_other(database: Database, sql: psycopg.Connection) -> None:
    sql.execute("insert into superstoryboard.gates values ('google', 'closed', 'infinity', 'R')")
    await crowd(database, "alice", 60, model="closed")
    await crowd(database, "bob", 80, model="m")
    await claimed_owners(database, 70)
    sql.execute("delete from superstoryboard.gates")
    await crowd(database, "carol", 1, model="m")
    owners = await claimed_owners(database, 60)
    assert "carol" in owners[:50], "its backlog of 60 did not all go first"
    assert owners.count("alice") > 5, "and it goes on"


async def test_a_senders_open_transaction_holds_up_nobody(database: Database, database_url: str) -> None:
    claims = 'set request.jwt.claims = \'{"sub": "alice"}\''
    with psycopg.connect(database_url) as open_sender:
        open_sender.execute(claims)
        open_sender.execute("select public.pgmq_send(%s, '{}')", (IMAGE_QUEUE,))
        second = await accept(database, owner="alice")
        assert [job.id for job in await image_queue(database).claim(5, 60)] == [second]
        open_sender.rollback()


async def test_jobs_of_one_owner_made_at_once_have_turns_of_their_own(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    with psycopg.connect(database_url) as one, psycopg.connect(database_url) as other:
        for sender in (one, other):
            sender.execute("select pgmq.send(%s, '{}')", (IMAGE_QUEUE,))
        other.commit()
        one.commit()
    await accept(database, owner="bob")
    assert len(await image_queue(database).claim(2, 60)) == 2
    turns = "select turn from superstoryboard.turns where owner = 'sql' order by turn"
    assert sql.execute(turns).fetchall() == [(1,), (2,)]


async def test_what_is_paid_goes_before_any_turn(database: Database) -> None:
    await crowd(database, "alice", 5)
    work = image_queue(database)
    paid = await claim_one(work)
    assert await intend(database, paid) is not None
    await crowd(database, "bob", 5)
    await expire_lease(database, IMAGE_QUEUE)
    assert (await claim_one(image_queue(database, "next"))).id == paid.id


async def test_workers_at_once_claim_every_job_once_whatever_turns_swap(
    database: Database, sql: psycopg.Connection
) -> None:
    for priority in reversed(Priority):
        for owner in ("alice", "bob"):
            await crowd(database, owner, 20, priority=priority)
    claimed: list[ClaimedJob] = []
    works = [image_queue(database, str(number)) for number in range(CONCURRENCY)]
    while len(claimed) < 120:
        # The last come alone: of claims at one moment not each notes the turn of the queue.
        at_once = works if len(claimed) < 100 else works[:1]
        claimed += [job for jobs in await asyncio.gather(*(work.claim(2, 60) for work in at_once)) for job in jobs]
        turns = "select count(*), count(distinct (owner, turn)) from superstoryboard.turns where turn > 0"
        assert sql.execute(turns).fetchone() == (120, 120), "a turn is used once, and none is lost"
    assert len({job.id for job in claimed}) == 120
    assert sql.execute("select turn from superstoryboard.queue_turns order by queue").fetchone() == (60,)


async def test_the_benchmark_compares_with_claims_in_the_order_of_the_sends(
    database: Database, sql: psycopg.Connection
) -> None:
    sql.execute(IN_ORDER.read_bytes())
    for owner in ("alice", "alice", "alice", "bob", "alice"):
        await accept(database, owner=owner)
    assert await claimed_owners(database, 5) == ["alice", "alice", "alice", "bob", "alice"]


BROKEN: dict[str, tuple[tuple[str, str, str], Callable[..., Awaitable[None]]]] = {
    "an owner's turns all the same": (
        ("last_turn", "return greatest(queues_own, owners_last, 0)", "return greatest(queues_own, 0)"),
        test_two_thousand_jobs_of_one_owner_delay_anothers_by_a_few_claims,
    ),
    "turns that begin at nought": (
        ("last_turn", "return greatest(queues_own, owners_last, 0)", "return greatest(owners_last, 0)"),
        test_an_owner_who_waited_saves_up_no_turns,
    ),
    "a length that no weight changes": (
        ("turn_length", "1 / weight", "1::double precision"),
        test_a_weight_gives_more_turns_from_the_next_job_on,
    ),
    "a turn that its job keeps for itself": (
        ("claim_turn", "order by t.priority, t.rank, t.job", "order by t.turn, t.job"),
        test_a_retry_goes_before_the_later_jobs_of_its_owner_only,
    ),
    "a turn that is not given back": (
        (
            "claim_turn",
            "when own.job then best.turn else own.turn end",
            "when own.job then own.turn else best.turn end",
        ),
        test_workers_at_once_claim_every_job_once_whatever_turns_swap,
    ),
    "a turn that two claims use": (
        ("claim_turn", "and t.ready and t.turn = p_turn for update skip locked", "and t.ready"),
        test_workers_at_once_claim_every_job_once_whatever_turns_swap,
    ),
    "a backlog that goes first": (
        ("next_ready", "n.turn < p_queue_turn - 1", "false"),
        test_a_model_whose_gate_was_closed_holds_up_no_other,
    ),
    "jobs that two transactions place at once": (
        ("may_place", "select pg_try_advisory_xact_lock(", "select true or pg_try_advisory_xact_lock("),
        test_jobs_of_one_owner_made_at_once_have_turns_of_their_own,
    ),
}
"""What is broken, and the test that must see it."""


@pytest.mark.parametrize("broken", BROKEN)
async def test_is_seen(database: Database, sql: psycopg.Connection, database_url: str, broken: str) -> None:
    changed, seen_by = BROKEN[broken]
    change(sql, *changed)
    given = {"database": database, "sql": sql, "database_url": database_url}
    parameters = inspect.signature(seen_by).parameters
    with pytest.raises((AssertionError, ValueError)):
        await seen_by(**{name: given[name] for name in parameters})
