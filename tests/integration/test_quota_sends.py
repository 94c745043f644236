"""Quotas of those who send by SQL: the same as by ingest, for whoever has a token."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.quotas import QuotaScope
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from tests.integration.helpers import IMAGE_QUEUE, accept, submission
from tests.integration.quota_steps import allow, quota, submit


def claims(sql: psycopg.Connection, **of: object) -> None:
    """As PostgREST says who calls."""
    sql.execute("select set_config('request.jwt.claims', %s, false)", (json.dumps(of),))


async def test_a_send_by_sql_with_a_token_raises_what_the_quota_refuses(
    database: Database, sql: psycopg.Connection
) -> None:
    allow(sql, open_jobs=1)
    allow(sql, scope="ANONYMOUS", open_jobs=2)
    sql.execute("update superstoryboard.owner_rules set anonymous_users = true")
    send = "select public.pgmq_send(%s, '{}')"
    claims(sql, sub="alice")
    sql.execute(send, (IMAGE_QUEUE,))
    with pytest.raises(psycopg.Error, match="quota of 1 open image jobs") as refused:
        sql.execute(send, (IMAGE_QUEUE,))
    assert refused.value.sqlstate == "PT429"
    assert '"reason": "QUOTA_EXCEEDED"' in (refused.value.diag.message_detail or "")
    assert quota(await submit(database)) == "OPEN_JOBS", "one quota for both ways"
    claims(sql, sub="guest", is_anonymous=True)
    for _ in range(2):
        sql.execute(send, (IMAGE_QUEUE,))
    claims(sql, sub="backend", role="service_role")
    for _ in range(3):
        sql.execute(send, (IMAGE_QUEUE,))
    sql.execute("select pgmq.send(%s, '{}') from generate_series(1, 3)", (IMAGE_QUEUE,))
    sql.execute("reset request.jwt.claims")
    sql.execute("select public.pgmq_send(%s, '{}') from generate_series(1, 3)", (IMAGE_QUEUE,))
    assert sql.execute("select count(*) from pgmq.q_image_generation_queue").fetchone() == (12,)


async def test_a_send_that_is_rolled_back_counts_nothing(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    allow(sql, per_day=1)
    with psycopg.connect(database_url) as sender:
        claims(sender, sub="alice")
        sender.execute("select public.pgmq_send(%s, '{}')", (IMAGE_QUEUE,))
        sender.rollback()
    assert quota(await submit(database)) == "created"


async def test_calls_batches_sends_and_retries_at_once_open_exactly_as_many_as_are_allowed(
    database: Database, database_url: str, sql: psycopg.Connection
) -> None:
    cancelled = [await accept(database) for _ in range(20)]
    steering, store = Steering(database), JobStore(database)
    for job_id in cancelled:
        await steering.cancel(job_id, owner="alice", actor="alice")
    allow(sql, open_jobs=10)

    async def send() -> str | None:
        async with await psycopg.AsyncConnection.connect(database_url) as sender:
            await sender.execute(
                "select set_config('request.jwt.claims', %s, true)",
                (json.dumps({"sub": "alice", "role": "authenticated"}),),
            )
            try:
                await sender.execute("select public.pgmq_send(%s, '{}')", (IMAGE_QUEUE,))
            except psycopg.Error as error:
                return error.sqlstate
        return None

    async def retry(job_id: UUID) -> None:
        await steering.retry(job_id, owner="alice", actor="alice", quota_scope=QuotaScope.EVERYONE)

    answers = await asyncio.gather(
        *(send() for _ in range(20)),
        *(submit(database, writes_as=["alice"]) for _ in range(30)),
        *(store.accept([submission(writes_as=["alice"]) for _ in range(3)]) for _ in range(10)),
        *(retry(job_id) for job_id in cancelled),
    )
    assert set(answers[:20]) <= {None, "PT429"}
    assert sql.execute("select count(*) from superstoryboard.turns where owner = 'alice'").fetchone() == (10,)
