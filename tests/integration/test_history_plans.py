"""Statements on growing tables read by an index what they need, however much lies beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from devstack.stack.postgres import Postgres
from tests.conftest import TEMPLATE, admin

pytestmark = pytest.mark.timeout(900)

ROWS = int(os.environ.get("PLAN_ROWS", "200000"))
FILL = f"""
set session_replication_role = replica;
insert into superstoryboard.jobs (
  id, kind, owner, generation, state, queue, msg_id, enqueued_at, ended_at, created_at, scheduled_at)
select superstoryboard.uuid_v7(), 'image', 'o' || n % 100, '{{}}',
  (array['SUCCEEDED', 'FAILED', 'CANCELLED', 'DEAD_LETTERED'])[1 + n % 4], 'image_generation_queue', n, now(),
  now() - n * interval '1 s', now() - n * interval '1 s', now() - n * interval '1 s'
from generate_series(1, {ROWS}) n;
insert into superstoryboard.artifacts (
  id, job_id, claim, state, staging_bucket, staging_key, bucket, path, media_type, size_bytes, sha256, width, height,
  created_at, staged_at, ended_at, cleaned_at, lease_until)
select gen_random_uuid(), id, 1,
  case state when 'DEAD_LETTERED' then 'STAGED' when 'SUCCEEDED' then 'WRITTEN' else 'DISCARDED' end,
  's', id::text, 'b', id::text, 'image/png', 1, '', 1, 1, created_at, created_at, ended_at,
  case when state <> 'DEAD_LETTERED' then now() end, case when state = 'DEAD_LETTERED' then timestamptz 'infinity' end
from superstoryboard.jobs;
insert into superstoryboard.job_events (job_id, owner, state, attempt, progress_percent, message, created_at)
select id, owner, state, 1, 0, 'x', created_at from superstoryboard.jobs order by created_at;
insert into pgmq.a_image_generation_queue (msg_id, read_ct, enqueued_at, archived_at, vt, message)
select msg_id, 1, created_at, created_at, created_at, '{{}}' from superstoryboard.jobs order by created_at;
insert into superstoryboard.service_tokens (sha256, name, role, created_by, revoked_by, revoked_at)
select encode(sha256(n::text::bytea), 'hex'), 'short', 'service_role', 'o', 'o', now() - n * interval '1 s'
from generate_series(1, {ROWS}) n;
insert into superstoryboard.storyboards (id, owner, provisional, claimed_at)
select 'board-' || n, 'o' || n % 100, n % 2 = 0,
  now() - case n % 2 when 0 then n % 80000 * interval '1 s' else n * interval '1 min' end
from generate_series(1, {ROWS}) n;
insert into superstoryboard.storyboard_members (storyboard_id, member, role, shared_by)
select id, 'friend', 'viewer', owner from superstoryboard.storyboards;
set session_replication_role = origin;
insert into superstoryboard.jobs (id, kind, owner, generation, queue, msg_id, enqueued_at, claim)
select superstoryboard.uuid_v7(), 'image', 'o', '{{}}', 'image_generation_queue', {ROWS} + n, now(), 1
from generate_series(1, 2000) n;
analyze superstoryboard.jobs, superstoryboard.artifacts, superstoryboard.job_events, pgmq.a_image_generation_queue,
  superstoryboard.service_tokens, superstoryboard.storyboards, superstoryboard.storyboard_members;
"""
LIMITS = "row('7 days', 1000, '30 days', '400 days', '90 days', '900 days')::superstoryboard.sweep_limits"
TABLES = (
    "jobs",
    "artifacts",
    "job_events",
    "provider_calls",
    "a_image_generation_queue",
    "service_tokens",
    "storyboards",
    "storyboard_members",
)


@pytest.fixture(scope="module")
def grown(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A database whose tables of history are large, and nothing of it is due."""
    admin(postgres, f"create database grown template {TEMPLATE}")
    with psycopg.connect(postgres.url_of("grown"), autocommit=True) as connection:
        connection.execute(FILL)
        for table in ("jobs", "artifacts", "job_events"):
            connection.execute(f"vacuum superstoryboard.{table}")
        yield connection
    admin(postgres, "drop database grown with (force)")


def rows_read(connection: psycopg.Connection, statement: str) -> dict[str, int]:
    """Rows of the large tables that a statement and all that it calls fetched, by any way."""
    read = (
        "select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables"
        " where relname = any (%s)"
    )
    with connection.transaction(force_rollback=True):
        # What was not reported yet of earlier transactions counts too.
        before: dict[str, int] = dict(connection.execute(read, (list(TABLES),)).fetchall())
        connection.execute(statement)
        after: dict[str, int] = dict(connection.execute(read, (list(TABLES),)).fetchall())
    return {table: after[table] - before[table] for table in after}


STATEMENTS = [
    *(
        f"select superstoryboard.sweep_duty_v1('{duty}', {LIMITS})"
        for duty in (
            "bury_overdue",
            "bury_staged",
            "discard_uploads",
            "delete_events",
            "discard_dead_letters",
            "delete_jobs",
            "delete_archives",
            "delete_tokens",
            "delete_lapsed_owners",
        )
    ),
    "select * from superstoryboard.claim_artifacts_v1(null, 4, 60, 3)",
    "select * from superstoryboard.claim_cleanups_v1(3600, 500)",
    "select sequence from superstoryboard.job_events where sequence > 199000 order by sequence limit 1000",
    "select coalesce(max(sequence), 0) from superstoryboard.job_events",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_is_not_due_is_not_read(grown: psycopg.Connection, statement: str) -> None:
    assert sum(rows_read(grown, statement).values()) <= 1100


def test_cancelling_removed_messages_reads_open_jobs_only(grown: psycopg.Connection) -> None:
    read = rows_read(grown, f"select superstoryboard.sweep_duty_v1('cancel_removed', {LIMITS})")
    assert read["jobs"] <= 10_000


def test_the_oldest_are_found_where_something_is_due(grown: psycopg.Connection) -> None:
    """With a tenth of all past its time, each duty reads its batch and no more than a few rows for each."""
    late = LIMITS.replace("'30 days', '400 days', '90 days', '900 days'", "'50 h', '50 h', '50 h', '50 h'")
    for duty, batch in (("delete_events", 5000), ("delete_archives", 5000), ("delete_jobs", 1000)):
        read = rows_read(grown, f"select superstoryboard.sweep_duty_v1('{duty}', {late})")
        assert sum(read.values()) <= batch * 12, (duty, read)


def test_owners_that_lapsed_are_found_among_many(grown: psycopg.Connection) -> None:
    with grown.transaction(force_rollback=True):
        grown.execute(
            "update superstoryboard.storyboards set claimed_at = claimed_at - interval '20 h' where provisional"
        )
        read = rows_read(grown, f"select superstoryboard.sweep_duty_v1('delete_lapsed_owners', {LIMITS})")
    assert 1000 <= read["storyboards"] <= 5000
    assert 1000 <= read["storyboard_members"] <= 3000
