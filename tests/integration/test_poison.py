"""Bodies that strangers send: none of them breaks a send, a claim, a worker or its neighbours."""

from __future__ import annotations

import psycopg
import pytest

from superstoryboard.db.database import Database
from tests.integration.helpers import IMAGE_QUEUE, accept, image_queue

POISON = {
    "a number of 5,000 digits": "jsonb_build_object('prompt', repeat('9', 5000)::numeric)",
    "a number that stands for 100,000 digits": "jsonb_build_object('storyboardId', '1e100000'::numeric)",
    "a zero of 16,383 digits": "jsonb_build_object('prompt', '0e-16383'::numeric)",
    "numbers that stand for gigabytes": """('{"storyboardId": [' || repeat('1e131000,', 20000) || '1]}')::jsonb""",
    "5,000 nested arrays": "(repeat('[', 5000) || repeat(']', 5000))::jsonb",
    "20 MB in one string": "jsonb_build_object('storyboardId', repeat('x', 20000000))",
    "very many numbers": "(select jsonb_agg(n) from generate_series(1, 800000) n)",
}
REFUSED_BY = {
    "a number of 5,000 digits": "message: numbers must not have more than 40 digits before or after the point",
    "a number that stands for 100,000 digits": "message: numbers must not have more than 40 digits",
    "a zero of 16,383 digits": "message: numbers must not have more than 40 digits",
    "numbers that stand for gigabytes": "message: numbers must not have more than 40 digits",
    "5,000 nested arrays": "message: must not be nested deeper than 64 levels",
    "20 MB in one string": "message: must not exceed 262144 bytes",
    "very many numbers": "message: must not exceed 262144 bytes",
}
TAKEN = {
    "as many bytes as are allowed": "jsonb_build_object('prompt', repeat('x', 262144 - 14))",
    "as many levels as are allowed": "(repeat('[', 64) || repeat(']', 64))::jsonb",
    "as many digits as are allowed": "jsonb_build_array('1e39'::numeric, '1e-40'::numeric, -1234567.25)",
    "many small numbers": "(select jsonb_agg(7) from generate_series(1, 80000))",
    "no object": "'7'::jsonb",
}


@pytest.mark.parametrize("body", POISON)
async def test_a_body_that_nobody_can_read_stops_nobody(database: Database, sql: psycopg.Connection, body: str) -> None:
    sql.execute("set statement_timeout = '20 s'")
    sql.execute(f"select pgmq.send(%s, {POISON[body]})", (IMAGE_QUEUE,))
    good = await accept(database)
    poison, neighbour = await image_queue(database).claim(5, 60)
    assert (poison.owner, poison.raw_body) == ("sql", None)
    assert neighbour.id == good


@pytest.mark.parametrize("body", POISON)
def test_the_public_wrapper_refuses_it_by_name_of_the_rule(sql: psycopg.Connection, body: str) -> None:
    sql.execute("set statement_timeout = '20 s'")
    sql.execute("set role authenticated")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=REFUSED_BY[body]):
        sql.execute(f"select public.pgmq_send(%s, {POISON[body]})", (IMAGE_QUEUE,))


@pytest.mark.parametrize("body", TAKEN)
async def test_what_the_wrapper_takes_reaches_the_worker_as_text(
    database: Database, sql: psycopg.Connection, body: str
) -> None:
    sql.execute(f"select public.pgmq_send(%s, {TAKEN[body]})", (IMAGE_QUEUE,))
    (job,) = await image_queue(database).claim(5, 60)
    sent = sql.execute(f"select ({TAKEN[body]})::text").fetchone()
    assert (job.raw_body,) == sent


@pytest.mark.parametrize(
    ("body", "board"),
    [
        ('{"storyboardId": 7}', "7"),
        ('{"storyboardId": "a b"}', None),
        ('{"storyboardId": {"a": 1}}', None),
        ("[]", None),
    ],
)
async def test_ids_of_a_body_are_kept_where_they_are_ids(sql: psycopg.Connection, body: str, board: str | None) -> None:
    sql.execute("select pgmq.send(%s, %s::jsonb)", (IMAGE_QUEUE, body))
    assert sql.execute("select storyboard_id from superstoryboard.jobs").fetchall() == [(board,)]
