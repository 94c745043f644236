"""Owners of storyboards while everything happens at once: exactly one is first, and no two wait for each other."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.storyboards import Storyboards
from tests.integration.helpers import KV, claim_one, image_queue, row, stage, submission
from tests.integration.storyboard_steps import CLAIM, accepted, let_lapse, owner_of, put_kv, submit
from tests.integration.sweep_steps import sweep

BLOCKED = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and pid = any (%s)"
FINISH: LiteralString = f"select state, notes from superstoryboard.finish_job_v1(%s, '{KV}', 'archive', 'url', null)"


def wait_blocked(sql: psycopg.Connection, *actors: psycopg.Connection) -> None:
    pids = [actor.info.backend_pid for actor in actors]
    while sql.execute(BLOCKED, (pids,)).fetchone() != (len(pids),):
        pass


async def test_of_two_who_come_first_exactly_one_wins(database: Database, sql: psycopg.Connection) -> None:
    boards = [f"board-{number}" for number in range(10)]
    names = [f"user-{number}" for number in range(8)]
    answers = await asyncio.gather(*(submit(database, name, board=board) for board in boards for name in names))
    outcomes = [outcome for outcome, _ in answers]
    for number, board in enumerate(boards):
        mine = outcomes[number * len(names) : (number + 1) * len(names)]
        assert sorted(mine) == ["NOT_YOURS"] * (len(names) - 1) + ["created"], board
        assert owner_of(sql, board) == names[mine.index("created")]


@pytest.mark.parametrize(("first_stays", "second_wins"), [(True, False), (False, True)])
async def test_who_comes_second_waits_for_the_first(
    database_url: str, sql: psycopg.Connection, first_stays: bool, second_wins: bool
) -> None:
    with (
        psycopg.connect(database_url) as first,
        psycopg.connect(database_url, autocommit=True) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        assert first.execute(CLAIM, ("board", ["alice"])).fetchone() == (True,)
        waiting = pool.submit(second.execute, CLAIM, ("board", ["bob"]))
        wait_blocked(sql, second)
        (first.commit if first_stays else first.rollback)()
        assert waiting.result().fetchone() == (second_wins,)


async def test_of_two_who_come_after_a_lapse_exactly_one_wins(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    job_id = await accepted(database, "gone")
    await Steering(database).cancel(job_id, owner="gone", actor="gone")
    let_lapse(sql)
    with (
        psycopg.connect(database_url) as first,
        psycopg.connect(database_url, autocommit=True) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        assert first.execute(CLAIM, ("board", ["alice"])).fetchone() == (True,)
        waiting = pool.submit(second.execute, CLAIM, ("board", ["bob"]))
        wait_blocked(sql, second)
        first.commit()
        assert waiting.result().fetchone() == (False,)
    assert owner_of(sql) == "alice"


async def test_who_was_let_in_stays_so_although_the_owner_lapses_before_the_accept_commits(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    job_id = await accepted(database, "alice")
    await Steering(database).cancel(job_id, owner="alice", actor="alice")
    assert await Storyboards(database).share("board", ["alice"], "carol", "editor") is None
    item = vars(submission(owner="carol", writes_as=["carol"])) | {"id": str(uuid4()), "index": 0}
    with psycopg.connect(database_url) as late:
        late.execute("select outcome from superstoryboard.accept_jobs_v1(%s)", (json.dumps([item]),))
        sql.execute("update superstoryboard.storyboards set claimed_at = now() - interval '24 h 1 s'")
        assert "delete_lapsed_owners" not in await sweep(database)
    assert sql.execute("select member from superstoryboard.storyboard_members").fetchall() == [("carol",)]


async def test_a_kv_row_that_comes_while_its_rows_are_linked_still_counts(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    put_kv(sql, "scene:board:scene-1", {"imageUrl": "hers"})
    job_id = await accepted(database, "mallory")
    artifact = await stage(database, await claim_one(image_queue(database)))
    with (
        psycopg.connect(database_url) as outside,
        psycopg.connect(database_url, autocommit=True) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        outside.execute(f"select from {KV} where key = 'scene:board:scene-1' for update")
        finishing = pool.submit(writer.execute, FINISH, (artifact,))
        wait_blocked(sql, writer)
        put_kv(outside, "storyboard:board", {"userId": "alice"})
        outside.commit()
        assert finishing.result().fetchone() == ("SUCCEEDED", ["not yours"])
    assert sql.execute(f"select value ->> 'imageUrl' from {KV} where key like 'scene:%'").fetchone() == ("hers",)
    assert (await row(database, job_id))["warnings"] == ["not yours"]
    assert owner_of(sql) == "alice"


async def test_a_transfer_beside_a_finish_is_never_undone(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    """The finish would make alice's claim lasting; the transfer came first, as what it locked shows."""
    job_id = await accepted(database, "alice")
    artifact = await stage(database, await claim_one(image_queue(database)))
    with (
        psycopg.connect(database_url) as operator,
        psycopg.connect(database_url, autocommit=True) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        operator.execute("select superstoryboard.transfer_storyboard_v1('board', 'bob')")
        finishing = pool.submit(writer.execute, FINISH, (artifact,))
        wait_blocked(sql, writer)
        operator.commit()
        finishing.result()
    assert owner_of(sql) == "bob"
    assert (await row(database, job_id))["state"] == "SUCCEEDED"


def item(turn: int, index: int, board: str, owner: str) -> dict[str, object]:
    """One of a batch for accept_jobs_v1."""
    asked = submission(owner=owner, writes_as=[owner], request_id=f"first-{board}", generation={"storyboardId": board})
    return vars(asked) | {"id": f"00000000-0000-7000-8000-{turn:06d}{index:06d}", "index": index}


async def test_accepts_transfers_and_finishes_never_wait_for_each_other(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    """Connections of their own, which repeat nothing: a deadlock would be an error."""
    boards = ["a", "b", "c"]
    work = image_queue(database)
    for board in boards:
        put_kv(sql, f"scene:{board}:scene-1", {})
        await accepted(database, "alice", board=board, request_id=f"first-{board}")
    artifacts = [await stage(database, job) for job in await work.claim(3, 60)]
    let_lapse(sql)

    async def each(statement: LiteralString, values: list[tuple[object, ...]]) -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as own:
            for value in values:
                await own.execute(statement, value)

    def batch(turn: int) -> tuple[str]:
        order = boards if turn % 2 else boards[::-1]
        return (
            json.dumps(
                [
                    item(turn, place * 2 + owner, board, name)
                    for place, board in enumerate(order)
                    for owner, name in enumerate(("alice", "bob"))
                ]
            ),
        )

    transfer: LiteralString = "select superstoryboard.transfer_storyboard_v1(%s, %s)"
    accept: LiteralString = "select outcome from superstoryboard.accept_jobs_v1(%s)"
    await asyncio.gather(
        *(each(FINISH, [(artifact,)]) for artifact in artifacts),
        *(each(accept, [batch(turn * 10 + number) for number in range(10)]) for turn in range(6)),
        *(
            each(transfer, [(board, name) for name in ("alice", "bob", "alice") for board in order])
            for order in (boards, boards[::-1])
        ),
    )
    assert sql.execute("select count(*) from superstoryboard.jobs where state = 'SUCCEEDED'").fetchone() == (3,)


async def test_a_batch_takes_its_storyboards_in_one_order(database_url: str, sql: psycopg.Connection) -> None:
    """Who has the later storyboard and waits for the earlier one would be half of a deadlock."""
    items = json.dumps(
        [
            {"index": place, "writes_as": ["bob"], "generation": {"storyboardId": board}}
            for place, board in enumerate(("z", "a"))
        ]
    )
    with (
        psycopg.connect(database_url) as holder,
        psycopg.connect(database_url, autocommit=True) as batch,
        ThreadPoolExecutor(1) as pool,
    ):
        holder.execute(CLAIM, ("a", ["alice"]))
        refusing = pool.submit(batch.execute, "select superstoryboard.refused_items(%s)", (items,))
        wait_blocked(sql, batch)
        assert holder.execute(CLAIM, ("z", ["alice"])).fetchone() == (True,), "z is not taken yet"
        holder.commit()
        assert refusing.result().fetchone() == ({"0": "NOT_YOURS", "1": "NOT_YOURS"},)


async def test_a_redrive_takes_its_storyboards_in_one_order(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    jobs = [await accepted(database, "bob", board=board) for board in ("z", "a")]
    sql.execute("update superstoryboard.jobs set state = 'RUNNING'")
    sql.execute("update superstoryboard.jobs set state = 'DEAD_LETTERED', ended_at = now()")
    let_lapse(sql)
    redrive: LiteralString = (
        "select * from superstoryboard.redrive_dead_letters_v1(%s, 'x', false, null, null, null, null)"
    )
    with (
        psycopg.connect(database_url) as holder,
        psycopg.connect(database_url, autocommit=True) as operator,
        ThreadPoolExecutor(1) as pool,
    ):
        holder.execute(CLAIM, ("a", ["bob"]))
        redriving = pool.submit(operator.execute, redrive, (jobs,))
        wait_blocked(sql, operator)
        assert holder.execute(CLAIM, ("z", ["bob"])).fetchone() == (True,), "z is not taken yet"
        holder.commit()
        assert redriving.result().fetchone() == (None, None)
