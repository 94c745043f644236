"""Messages that no reader of JSON survives: each ends as its own job FAILED, and nothing else notices."""

from __future__ import annotations

import psycopg
import pytest

from tests.e2e.pipeline import Pipeline

pytestmark = [pytest.mark.timeout(120), pytest.mark.parametrize("running_pipeline", ["rows"], indirect=True)]

QUEUE = "image_generation_queue"
POISON = {
    "5,000 digits": """jsonb_build_object('storyboardId', 'poison', 'prompt', repeat('9', 5000)::numeric)""",
    "1e100000": """'{"storyboardId": "poison", "prompt": "a", "sceneId": 1e100000}'::jsonb""",
    "nested": """jsonb_build_object('prompt', (repeat('[', 5000) || repeat(']', 5000))::jsonb)""",
    "150 levels": """jsonb_build_object('prompt', (repeat('[', 150) || repeat(']', 150))::jsonb)""",
    "20 MB": """jsonb_build_object('storyboardId', 'poison', 'prompt', repeat('x', 20000000))""",
}
GOOD = """jsonb_build_object('storyboardId', 'beside-poison', 'prompt', 'a red door')"""


def send(running: Pipeline, body: str) -> int:
    row = running.sql.execute(f"select pgmq.send('{QUEUE}', {body})").fetchone()
    assert row is not None
    return int(row[0])


def test_poison_fails_alone_while_its_neighbours_succeed(running_pipeline: Pipeline) -> None:
    running = running_pipeline
    process = running.services["image_worker"].pid
    poison, good = {}, [send(running, GOOD)]
    for name, body in POISON.items():
        poison[send(running, body)] = name
        good.append(send(running, GOOD))
    running.wait_for_row(
        "select 1 from superstoryboard.jobs where queue = %s and msg_id = any(%s)"
        " and state in ('SUCCEEDED', 'FAILED', 'DEAD_LETTERED') having count(*) = %s",
        (QUEUE, [*poison, *good], len(poison) + len(good)),
    )
    ends = "select state, error ->> 'class', attempt from superstoryboard.jobs where queue = %s and msg_id = %s"
    assert {running.sql.execute(ends, (QUEUE, each)).fetchone() for each in good} == {("SUCCEEDED", None, 1)}
    for msg_id, name in poison.items():
        record = running.sql.execute(
            f"select state, error ->> 'class', error ->> 'message', raw_body = {POISON[name]}"
            " from superstoryboard.jobs where queue = %s and msg_id = %s",
            (QUEUE, msg_id),
        ).fetchone()
        assert record is not None
        assert record[:2] == ("FAILED", "INVALID"), name
        assert record[2].startswith("body must "), name
        assert record[3], "the body is kept"
    assert running.services["image_worker"].pid == process
    assert running.process("image_worker").processed == 0


@pytest.mark.parametrize("name", POISON)
def test_a_client_of_the_wrapper_is_told_at_once(running_pipeline: Pipeline, name: str) -> None:
    before = running_pipeline.sql.execute(f"select count(*) from pgmq.q_{QUEUE}").fetchone()
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="message: "):
        running_pipeline.sql.execute(f"select public.pgmq_send('{QUEUE}', {POISON[name]})")
    assert running_pipeline.sql.execute(f"select count(*) from pgmq.q_{QUEUE}").fetchone() == before
