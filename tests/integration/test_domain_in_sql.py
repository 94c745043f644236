"""What the domain says in Python the database says too."""

from __future__ import annotations

import re

import psycopg

from superstoryboard.domain.kinds import KINDS
from superstoryboard.domain.routes import RouteShape
from superstoryboard.domain.states import STATES, TERMINAL_STATES
from superstoryboard.domain.traces import trace_id


def test_the_table_has_what_the_records_have(sql: psycopg.Connection) -> None:
    columns = ("name", "queue", "sent_publicly", "media", "bucket", "link", "charged", "max_results")
    records = sql.execute(f"select {', '.join(columns)} from superstoryboard.job_kinds order by name").fetchall()
    assert records == sorted(tuple(getattr(kind, column) for column in columns) for kind in KINDS.values())


def words(sql: psycopg.Connection, statement: str) -> set[str]:
    (text,) = sql.execute(statement).fetchone() or ("",)
    return set(re.findall(r"'([A-Z_]+)'::text", text))


def constraint(table: str, column: str) -> str:
    return (
        "select pg_get_constraintdef(oid) from pg_constraint"
        f" where conrelid = 'superstoryboard.{table}'::regclass and conname = '{table}_{column}_check'"
    )


def test_states_and_shapes_are_those_of_the_tables(sql: psycopg.Connection) -> None:
    assert words(sql, constraint("jobs", "state")) == set(STATES)
    assert words(sql, constraint("provider_calls", "shape")) == set(RouteShape)


def test_a_job_leaves_the_claims_in_each_terminal_state(sql: psycopg.Connection) -> None:
    statement = "select pg_get_triggerdef(oid) from pg_trigger where tgname = 'jobs_close_turn'"
    assert words(sql, statement) == TERMINAL_STATES


def test_each_message_that_no_request_sent_begins_a_trace(sql: psycopg.Connection) -> None:
    for kind in KINDS.values():
        sql.execute("select public.pgmq_send(%s, '{}')", (kind.queue,))
    traces = {trace_id(text) for (text,) in sql.execute("select traceparent from superstoryboard.jobs")}
    assert len(traces - {""}) == len(KINDS)
