"""A migrated database accepts every statement that jobs run, and its rows are what their readers expect."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq import ExecStatus

from superstoryboard.db.statements import read_statements
from superstoryboard.jobs import queue

STATEMENTS = {
    f"{file.stem}.{name}": statement
    for file in sorted(Path(queue.__file__).parent.glob("*.sql"))
    for name, statement in read_statements(file).items()
}


def numbered(statement: str) -> str:
    """The statement with its parameters as the server names them: $1, $2, ..."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    with_numbers = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", statement)
    assert "%" not in with_numbers.replace("%%", ""), "a per cent sign is written twice"
    return with_numbers.replace("%%", "%")


def refusal(sql: psycopg.Connection, statement: str) -> str | None:
    """Why the server does not accept a statement: syntax, names, types; None where it does. Nothing is run."""
    answer = sql.pgconn.prepare(b"", numbered(statement).encode())
    return None if answer.status == ExecStatus.COMMAND_OK else answer.get_error_message()


def test_a_migrated_database_accepts_every_statement(sql: psycopg.Connection) -> None:
    assert "queue.claim_jobs" in STATEMENTS
    refusals = {name: refusal(sql, statement) for name, statement in STATEMENTS.items()}
    assert {name: reason for name, reason in refusals.items() if reason} == {}


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("select superstoryboard.holds_lease_v1(%(job)s, %(claim)s)", "does not exist"),
        ("select no_such_column from superstoryboard.jobs", "does not exist"),
        ("select id frm superstoryboard.jobs where id = %(id)s", "syntax error"),
        ("select id from superstoryboard.jobs where id = %(id)s::int", "operator does not exist"),
    ],
)
def test_a_statement_that_does_not_fit_is_refused(sql: psycopg.Connection, statement: str, reason: str) -> None:
    assert reason in (refusal(sql, statement) or "")


class Named(dict[str, Any]):
    """A row whose columns hold their own names, but for those that are given."""

    def __missing__(self, name: str) -> str:
        return name


def columns(record: Any) -> list[str]:
    """The columns that a record was read from, in the order of its fields and of those of the records in it."""
    read: list[str] = []
    for value in (getattr(record, field.name) for field in fields(record)):
        if is_dataclass(value):
            read += columns(value)
        elif value is not None:
            read.append(value)
    return read


def test_claimed_jobs_are_read_as_the_database_has_them(sql: psycopg.Connection) -> None:
    attributes = sql.execute(
        "select array_agg(attname::text order by attnum) from pg_attribute"
        " where attrelid = 'superstoryboard.claimed_job'::regclass and attnum > 0 and not attisdropped"
    ).fetchone()
    assert attributes is not None
    known = columns(queue._claimed(Named(sent_at=None)))
    lost = columns(queue._claimed(Named()))
    assert known == [name for name in attributes[0] if name in known]
    assert lost == [name for name in attributes[0] if name in lost]
    assert set(known) | set(lost) == set(attributes[0])
