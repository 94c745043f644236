"""No statement of claims, gates and accepts reads a growing table from end to end, whichever plan is kept for it.

Blocks are counted, not times: what a call touches must not grow with the tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from devstack.stack.postgres import Postgres
from tests.conftest import TEMPLATE, admin

JOBS = int(os.environ.get("PLAN_ROWS", "200000"))
CALLS = max(JOBS, 500_000)
BLOCKS_MAX = 1_000

pytestmark = pytest.mark.timeout(900)

FILL: tuple[LiteralString, ...] = (
    # Triggers and foreign keys would take minutes over it.
    "set session_replication_role = replica",
    f"""
    insert into superstoryboard.jobs (
      id, kind, owner, generation, model, state, queue, msg_id, enqueued_at, rank, claim, ended_at
    )
    select md5(n::text)::uuid, 'image', 'owner-' || n / 2 % 1000, '{{}}',
      case when n % 2 = 0 then 'closed' else 'm' end,
      case when n % 4 = 3 then 'SUCCEEDED' when n % 500 = 1 and n <= 200000 then 'RUNNING' else 'QUEUED' end,
      'image_generation_queue', n, now(), n, 1, case when n % 4 = 3 then now() end
    from generate_series(1, {JOBS}) n
    """,
    """
    insert into superstoryboard.turns (
      job, queue, kind, model, owner, priority, rank, due_at, ready, turn, claim, lease_until
    )
    select id, queue, kind, model, owner, msg_id % 3 - 1, rank,
      case when state = 'QUEUED' then now() + (msg_id % 3 = 0)::integer * interval '1 hour' end,
      state = 'QUEUED' and msg_id % 3 <> 0, msg_id / 1000, case when state = 'RUNNING' then 1 end,
      case when state = 'RUNNING' then now() + interval '1 hour' end
    from superstoryboard.jobs where state <> 'SUCCEEDED'
    """,
    """
    insert into pgmq.q_image_generation_queue (msg_id, vt, enqueued_at, message)
    overriding system value
    select msg_id, enqueued_at, enqueued_at, '{}' from superstoryboard.jobs where state <> 'SUCCEEDED'
    """,
    f"""
    insert into superstoryboard.provider_calls (
      job_id, claim, call_hash, route, shape, model, state, paid, created_at, settled_at
    )
    select md5((n * 4 % {JOBS} + 3)::text)::uuid, 1, 'h', 'r', 'ANSWER', 'm', 'SETTLED', true,
      now() - n * interval '1 s', now()
    from generate_series(1, {CALLS}) n
    """,
    f"select setval('pgmq.q_image_generation_queue_msg_id_seq', {JOBS})",
    f"update superstoryboard.queues set adopted_msg_id = {JOBS}",
    "insert into superstoryboard.gates values ('google', 'closed', 'infinity', 'R')",
    """
    insert into superstoryboard.quota_uses (owner, kind, minute, in_minute, day, in_day)
    select 'owner-' || n, 'image', now(), 1, now(), 1 from generate_series(1, 100000) n
    """,
    "insert into superstoryboard.owner_weights select 'owner-' || n, 2 from generate_series(1000, 100000) n",
    """
    insert into superstoryboard.quotas
    select 'image', 'OWNER', 'owner-' || n, 500, 500, 500 from generate_series(1, 99999) n
    """,
    "analyze superstoryboard.quota_uses, superstoryboard.owner_weights, superstoryboard.quotas",
    "analyze superstoryboard.jobs, superstoryboard.turns, superstoryboard.provider_calls",
    "analyze pgmq.q_image_generation_queue",
    "set session_replication_role = origin",
)


@pytest.fixture(scope="module")
def large(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A database with so many rows that a scan of a whole table shows."""
    admin(postgres, f"create database large template {TEMPLATE}")
    with psycopg.connect(postgres.url_of("large"), autocommit=True) as connection:
        for statement in FILL:
            connection.execute(statement)
        yield connection
    admin(postgres, "drop database large with (force)")


LIMITS = "row(15, 1000, 10)::superstoryboard.gate_limits"
RUNNING = "(select id from superstoryboard.jobs where msg_id = 501 and queue = 'image_generation_queue')"
ITEM = (
    "jsonb_build_array(jsonb_build_object('index', 0, 'id', gen_random_uuid(), 'kind', 'image', 'owner', '{owner}',"
    " 'request_id', 'r', 'submit_hash', 'h', 'generation', jsonb_build_object('storyboardId', 'b'), 'provider', 'g',"
    " 'model', 'm', 'labels', jsonb_build_object(), 'traceparent', '', 'warnings', jsonb_build_array()))"
)
USERS_ITEM = ITEM.replace("'index', 0", "'index', 0, 'writes_as', jsonb_build_array('alice')")
CLAIM = (
    "select * from superstoryboard.claim_jobs_v1("
    "'image_generation_queue', '{{image}}', 'w', 5, 60, false, 'google', 'm', {}::superstoryboard.gate_limits, '{{}}')"
)

STATEMENTS: dict[str, str] = {
    "a claim of five": CLAIM.format("row(0, 0, 0)"),
    "a claim at full gates": CLAIM.format("row(1, 1, 1)"),
    "a gate": f"select * from superstoryboard.gate_room('google', 'm', {LIMITS})",
    "a call": (
        f"select * from superstoryboard.open_call_v1({RUNNING}, 1, 'r', 'ANSWER', 'google', 'm', 'h', 1, {LIMITS}, 's')"
    ),
    "a heartbeat": (
        f"select * from superstoryboard.extend_leases_v1('image_generation_queue', array[{RUNNING}], '{{1}}', 60)"
    ),
    "a look for expired leases": "select superstoryboard.recover_leases('image_generation_queue', 100)",
    "a look for due jobs": "select superstoryboard.ready_turns('image_generation_queue')",
    "a look for new messages": "select superstoryboard.adopt_new_messages('image_generation_queue')",
    "a lease": f"select superstoryboard.holds_lease_v1({RUNNING}, 1, 1)",
    "a release": f"select superstoryboard.release_job_v1({RUNNING}, 1, 0, 'm')",
    "a retry": f"select superstoryboard.retry_job_v1({RUNNING}, 1, 0, '{{}}', true)",
    "a failure": f"select superstoryboard.fail_job_v1({RUNNING}, 1, 'FAILED', jsonb_build_object('message', 'm'))",
    "an accept": f"select * from superstoryboard.accept_jobs_v1({ITEM.format(owner='alice')})",
    "an accept of an owner with a quota and a hundred jobs": (
        f"select * from superstoryboard.accept_jobs_v1({ITEM.format(owner='owner-10')})"
    ),
    "a batch of an owner with a quota": (
        f"select * from superstoryboard.accept_jobs_v1((select jsonb_agg(({ITEM.format(owner='owner-10')} -> 0)"
        " || jsonb_build_object('index', n, 'request_id', n)) from generate_series(1, 2) n))"
    ),
    "an accept of a user": f"select * from superstoryboard.accept_jobs_v1({USERS_ITEM})",
    "a storyboard": "select * from superstoryboard.storyboard_v1('b', '{alice}')",
    "a send": "select pgmq.send('image_generation_queue', '{}')",
    "a send by the wrapper": "select public.pgmq_send('image_generation_queue', '{}')",
    "a look for a lost name": (
        "select * from superstoryboard.unclaimed_operations_v1("
        "(select max(id) from superstoryboard.provider_calls), '{a}')"
    ),
    "a removed job": f"delete from superstoryboard.jobs where id = {RUNNING}",
}


def blocks(sql: psycopg.Connection, statement: str) -> int:
    """Blocks of tables and indexes that a statement touches, with the functions it calls. Changes nothing."""
    with sql.transaction(force_rollback=True):
        # What each first call in a session reads of the catalogues is not meant.
        sql.execute("savepoint warm_up")
        sql.execute(statement)
        sql.execute("rollback to savepoint warm_up")
        explained = sql.execute("explain (analyze, buffers, format json) " + statement)
        record: Any = explained.fetchone()
        plan = record[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("kept", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_no_table_is_read_from_end_to_end_by(large: psycopg.Connection, name: str, kept: str) -> None:
    large.execute(f"set plan_cache_mode = {kept}")
    assert blocks(large, STATEMENTS[name]) < BLOCKS_MAX


def test_the_guard_sees_a_volatile_clock_in_a_condition(large: psycopg.Connection) -> None:
    record = large.execute("select pg_get_functiondef('superstoryboard.room_of_minute'::regproc)").fetchone()
    assert record is not None
    gate = "select * from superstoryboard.gate_room('google', 'm', row(100, 0, 0)::superstoryboard.gate_limits)"
    assert blocks(large, gate) < BLOCKS_MAX
    with large.transaction(force_rollback=True):
        large.execute(record[0].replace("> p_present", "> clock_timestamp()"))
        assert blocks(large, gate) > BLOCKS_MAX


def test_the_status_of_the_queues_reads_narrow_rows_only(large: psycopg.Connection) -> None:
    with large.transaction(force_rollback=True):
        large.execute("select * from superstoryboard.queue_status_v1()").fetchall()
        read = "select relname from pg_stat_xact_user_tables where relname in ('jobs', %s) and seq_scan > 0"
        assert large.execute(read, ("q_image_generation_queue",)).fetchall() == []
