"""Quotas of those who send by SQL: the same as by ingest, for whoever has a token."""

from __future__ import annotations

import json

import psycopg
import pytest

from superstoryboard.db.database import Database
from tests.integration.helpers import IMAGE_QUEUE
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
    for exempt in ({}, {"sub": "backend", "role": "service_role"}):
        claims(sql, **exempt)
        for _ in range(3):
            sql.execute(send, (IMAGE_QUEUE,))
    sql.execute("select pgmq.send(%s, '{}') from generate_series(1, 3)", (IMAGE_QUEUE,))
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
