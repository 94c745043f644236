"""Who owns a storyboard, and what others may not do with it: at accept, send, start again and link (decision 0044)."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest.mock import ANY

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.storyboards import OwnerRules, OwnerSettings, Storyboards
from tests.integration.helpers import KV, accept, submission
from tests.integration.storyboard_steps import accepted, let_lapse, owner_of, put_kv, store_asset, submit
from tests.integration.sweep_steps import sweep

SEND = "select public.pgmq_send('image_generation_queue', %s)"
DEFAULTS = OwnerSettings(KV, ("userId", "user_id", "ownerId", "owner"), ("sub",), ("test-storyboard",))


def speak_as(sql: psycopg.Connection, **claims: object) -> None:
    sql.execute("select set_config('request.jwt.claims', %s, false)", (json.dumps({"role": "authenticated"} | claims),))


async def test_the_first_who_makes_a_job_owns_the_storyboard(database: Database, sql: psycopg.Connection) -> None:
    await accepted(database, "alice")
    assert owner_of(sql) == "alice"
    assert await submit(database, "bob") == ("NOT_YOURS", None)
    await accepted(database, "bob", board="another")


async def test_a_first_owner_without_a_stored_asset_lapses(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accepted(database, "alice")
    await Steering(database).cancel(job_id, owner="alice", actor="alice")
    let_lapse(sql)
    assert owner_of(sql) is None
    await accepted(database, "bob")
    assert await submit(database, "alice") == ("NOT_YOURS", None)


async def test_a_stored_asset_makes_the_owner_lasting(database: Database, sql: psycopg.Connection) -> None:
    await accepted(database, "alice")
    await store_asset(database)
    let_lapse(sql)
    assert await submit(database, "bob") == ("NOT_YOURS", None)


async def test_the_sweep_deletes_owners_that_lapsed_and_whom_they_let_in(
    database: Database, sql: psycopg.Connection
) -> None:
    await accepted(database, "alice", board="stored")
    await store_asset(database)
    for board in ("lapsed", "named", "bobs"):
        await accepted(database, "alice", board=board)
        assert await Storyboards(database).share(board, ["alice"], "carol", "viewer") is None
    put_kv(sql, "storyboard:named", {"userId": "alice"})
    put_kv(sql, "storyboard:bobs", {"userId": "bob"})
    let_lapse(sql)
    assert "delete_lapsed_owners" not in await sweep(database), "their jobs are open"
    sql.execute("update superstoryboard.jobs set state = 'CANCELLED', ended_at = now() where ended_at is null")
    await accepted(database, "alice", board="fresh")
    assert (await sweep(database))["delete_lapsed_owners"] == 3
    boards = sql.execute("select id, provisional from superstoryboard.storyboards order by id").fetchall()
    assert boards == [("fresh", True), ("stored", False)]
    members = sql.execute("select storyboard_id, member from superstoryboard.storyboard_members").fetchall()
    assert members == [("named", "carol")]
    assert await submit(database, "bob", board="lapsed") == ("created", ANY)
    assert "delete_lapsed_owners" not in await sweep(database)


async def test_a_service_confirms_nobody_elses_claim(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accepted(database, "mallory")
    await Steering(database).cancel(job_id, owner=None, actor="test")
    await accept(database)
    await store_asset(database)
    let_lapse(sql)
    assert owner_of(sql) is None


async def test_what_a_service_made_first_is_nobody_elses(database: Database, sql: psycopg.Connection) -> None:
    sql.execute("select pgmq.send('image_generation_queue', '{\"storyboardId\": \"by-sql\"}')")
    await accept(database, owner="service_role")
    for board in ("by-sql", "board"):
        assert await submit(database, "mallory", board=board) == ("NOT_YOURS", None)
    assert await accept(database), "services write all"


async def test_jobs_of_an_earlier_release_make_their_first_owner(database: Database, sql: psycopg.Connection) -> None:
    for owner in ("alice", "bob"):
        await accept(database, owner=owner)
    sql.execute("update superstoryboard.jobs set created_at = created_at - interval '1 year'")
    for state in ("RUNNING", "STAGED", "SUCCEEDED"):
        sql.execute("update superstoryboard.jobs set state = %s where owner = 'alice'", (state,))
    assert await submit(database, "bob") == ("NOT_YOURS", None)
    await accepted(database, "alice")
    let_lapse(sql)
    assert owner_of(sql) == "alice", "her asset was stored"


@pytest.mark.parametrize("field", DEFAULTS.fields)
async def test_the_owner_in_the_kv_row_always_wins(database: Database, sql: psycopg.Connection, field: str) -> None:
    await accepted(database, "mallory")
    await store_asset(database)
    put_kv(sql, "storyboard:board", {field: "alice"})
    assert await submit(database, "mallory") == ("NOT_YOURS", None)
    await accepted(database, "alice")
    await store_asset(database)
    sql.execute(f"delete from {KV}")
    assert owner_of(sql) == "alice", "kept when the row goes"


ODD_ROWS: dict[str, object] = {
    "no object": ["userId", "alice"],
    "text": "alice",
    "null": None,
    "owner a number": {"userId": 7},
    "owner nested": {"user": {"id": "alice"}, "userId": {"id": "alice"}},
    "owner empty": {"userId": ""},
    "owner blank": {"userId": " \t"},
    "owner too long": {"userId": "a" * 129},
    "owner with a line": {"userId": "alice\nbob"},
    "owner null": {"userId": None},
    "owner in another case": {"userid": "alice"},
}


@pytest.mark.parametrize("name", ODD_ROWS)
async def test_odd_kv_rows_name_nobody_and_stop_nothing(database: Database, sql: psycopg.Connection, name: str) -> None:
    put_kv(sql, "storyboard:board", ODD_ROWS[name])
    await accepted(database, "bob")
    assert owner_of(sql) == "bob"


async def test_a_field_that_names_nobody_leaves_it_to_the_next(database: Database, sql: psycopg.Connection) -> None:
    put_kv(sql, "storyboard:board", {"userId": 7, "user_id": "", "ownerId": "alice", "owner": "bob"})
    await accepted(database, "alice")
    assert await submit(database, "bob") == ("NOT_YOURS", None)


async def test_a_null_row_and_a_table_that_is_gone(database: Database, sql: psycopg.Connection) -> None:
    sql.execute(f"insert into {KV} values ('storyboard:board', null)")
    await accepted(database, "alice")
    sql.execute(f"drop table {KV}")
    assert await submit(database, "bob") == ("NOT_YOURS", None)
    await accepted(database, "alice")


async def test_the_settings_of_ingest_reach_every_way_in(database: Database, sql: psycopg.Connection) -> None:
    sql.execute('create table "app_kv" (key text primary key, value jsonb)')
    await OwnerRules(database, OwnerSettings("app_kv", ("author",), ("app_metadata.user_id",), ("free",))).tell()
    sql.execute("insert into app_kv values ('storyboard:board', '{\"author\": \"user_1\"}')")
    await accepted(database, "user_1")
    await accepted(database, "anyone", board="free")
    await accepted(database, "someone", board="free")
    speak_as(sql, sub="x", app_metadata={"user_id": "user_1"})
    assert sql.execute(SEND, ('{"storyboardId": "board"}',)).fetchone()
    speak_as(sql, sub="user_1", app_metadata={"user_id": "user_2"})
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="NOT_YOURS"):
        sql.execute(SEND, ('{"storyboardId": "board"}',))


async def test_who_signed_in_without_an_account_sends_only_where_ingest_lets_them_in(
    database: Database, sql: psycopg.Connection
) -> None:
    speak_as(sql, sub="guest", is_anonymous=True)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="ANONYMOUS_REFUSED"):
        sql.execute(SEND, ("{}",))
    await OwnerRules(database, replace(DEFAULTS, anonymous_users=True)).tell()
    assert sql.execute(SEND, ("{}",)).fetchone()
    await OwnerRules(database, DEFAULTS).tell()
    speak_as(sql, sub="member", is_anonymous=False)
    assert sql.execute(SEND, ("{}",)).fetchone()


async def test_any_name_of_a_caller_counts(database: Database, sql: psycopg.Connection) -> None:
    put_kv(sql, "storyboard:board", {"userId": "user_7"})
    await accepted(database, "a-uuid", "user_7")


async def test_each_item_of_a_batch_is_judged_alone(database: Database, sql: psycopg.Connection) -> None:
    put_kv(sql, "storyboard:hers", {"owner": "alice"})
    boards = ["his", "hers", "his", "hers", "free"]
    items = [
        submission(owner="bob", writes_as=["bob"], request_id=f"r{9 - n}", generation={"storyboardId": board})
        for n, board in enumerate(boards)
    ]
    answers = await JobStore(database).accept(items)
    assert [answer.outcome for answer in answers] == ["created", "NOT_YOURS", "created", "NOT_YOURS", "created"]
    assert owner_of(sql, "his") == "bob"


async def test_a_repeated_request_gives_its_job_whoever_owns_it_now(database: Database) -> None:
    job_id = await accepted(database, "alice", request_id="r")
    assert await Storyboards(database).transfer("board", "bob") is None
    assert await submit(database, "alice", request_id="r") == ("existing", job_id)
    assert await submit(database, "alice", request_id="other") == ("NOT_YOURS", None)


SENDERS: dict[str, tuple[dict[str, object] | None, bool]] = {
    "the owner": ({"sub": "alice"}, True),
    "another user": ({"sub": "bob"}, False),
    "another user with the owner in claims that users write": (
        {"sub": "bob", "user_metadata": {"sub": "alice"}, "owner": "alice"},
        False,
    ),
    "the service": ({"role": "service_role"}, True),
    "the service with a name": ({"role": "service_role", "sub": "backend"}, True),
    "anon": ({"role": "anon"}, False),
    "a role that is no string": ({"sub": "bob", "role": ["service_role"]}, False),
    "nobody's token: plain SQL": (None, True),
}


@pytest.mark.parametrize("name", SENDERS)
async def test_plain_sql_with_a_token_goes_by_the_same_rule(sql: psycopg.Connection, name: str) -> None:
    put_kv(sql, "storyboard:board", {"userId": "alice"})
    claims, allowed = SENDERS[name]
    if claims is not None:
        speak_as(sql, **claims)
    if allowed:
        sql.execute(SEND, ('{"storyboardId": "board"}',))
    else:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="NOT_YOURS"):
            sql.execute(SEND, ('{"storyboardId": "board"}',))
    record = sql.execute("select count(*) from superstoryboard.jobs").fetchone()
    assert record == (int(allowed),)


@pytest.mark.parametrize("board", ["8.0", "1e0", "8.00000000000000000000000001", "-8", "9007199254740993.0"])
async def test_a_number_that_readers_spell_otherwise_is_refused(sql: psycopg.Connection, board: str) -> None:
    speak_as(sql, sub="bob")
    if board == "1e0":
        sql.execute(SEND, (f'{{"storyboardId": {board}}}',))
        assert owner_of(sql, "1") == "bob"
        return
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="must be a string"):
        sql.execute(SEND, (f'{{"storyboardId": {board}}}',))


@pytest.mark.parametrize("claims", [{}, {"sub": None}, {"sub": ""}])
async def test_a_token_that_names_nobody_sends_nothing(sql: psycopg.Connection, claims: dict[str, object]) -> None:
    speak_as(sql, **claims)
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
        sql.execute(SEND, ('{"storyboardId": "board"}',))


async def test_who_has_no_name_writes_what_is_nobodys_and_owns_nothing(
    database: Database, sql: psycopg.Connection
) -> None:
    speak_as(sql, role="anon")
    sql.execute(SEND, ('{"storyboardId": "board", "prompt": "a fox"}',))
    assert owner_of(sql) is None
    await accepted(database, "alice")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sql.execute(SEND, ('{"storyboardId": "board"}',))
