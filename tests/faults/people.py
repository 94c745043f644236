"""What other people do to the system, with SQL of their own: they remove, send, look, and lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import grpc
import psycopg

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2_grpc
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2 import ListDeadLettersRequest, RedriveDeadLettersRequest
from tests.e2e.pipeline import KV
from tests.faults import answers
from tests.faults.strikes import HELD_SECONDS, OTHERS_SECONDS
from tests.faults.submits import submit
from tests.faults.world import ENDED, QUEUES, World
from tests.running import OWN_CONNECTION, SERVICE

NUMBER = "9" * 5_000
POISON = (
    f'{{"storyboardId": "poison", "sceneId": {NUMBER}, "prompt": "a"}}',
    '{"storyboardId": "poison", "sceneId": 1e100000, "prompt": "a"}',
    f'{{"storyboardId": "poison", "sceneId": {"[" * 5_000}{"]" * 5_000}, "prompt": "a"}}',
    f'{{"storyboardId": "poison", "prompt": "{"a" * 20_000_000}"}}',
)


def remove_messages(world: World) -> None:
    """Somebody archives the messages of videos that are being made."""
    waiting = "kind = 'video' and state in ('QUEUED', 'RUNNING')"
    world.wait_until(lambda: world.jobs(waiting) >= min(3, world.asked // 4), "videos that are being made")
    gone = world.running.sql.execute(
        "select pgmq.archive('video_generation_queue', array_agg(msg_id)) from (select msg_id from superstoryboard.jobs"
        f" where storyboard_id = %s and {waiting} limit 3) j",
        (world.row,),
    ).fetchall()
    world.struck += len(gone)
    world.running.sql.execute("select superstoryboard.sweep()")


def poison(world: World) -> None:
    """Bad messages in front of the good ones."""
    for queue in QUEUES:
        for body in ("[1, 2]", '"hi"', "{}", "null", '{"storyboardId": "..", "prompt": 7}'):
            world.running.sql.execute("select pgmq.send(%s, %s::jsonb)", (queue, body))
            world.struck += 1


def hostile_poison(world: World) -> None:
    """Messages that break parsers, through the wrapper (which may refuse them) and past it."""
    sql = world.running.sql
    for queue in QUEUES:
        for body in POISON:
            with sql.transaction():
                sql.execute("set local role authenticated")
                try:
                    with sql.transaction():
                        sql.execute("select public.pgmq_send(%s, %s::jsonb)", (queue, body))
                except psycopg.Error:
                    pass
            sql.execute("select pgmq.send(%s, %s::jsonb)", (queue, body))
            world.struck += 1


def lists_answer(world: World) -> None:
    """Whoever lists jobs or dead letters gets an answer, whatever lies in the queues."""
    waiting = "select count(*) from superstoryboard.jobs where storyboard_id is distinct from %s and state = 'QUEUED'"
    world.wait_until(lambda: not world.running.sql.execute(waiting, (world.row,)).fetchone()[0], "poison read")  # type: ignore[index]
    with grpc.insecure_channel(world.running.services["ingest"].address, OWN_CONNECTION) as channel:
        jobs, queues = GenerationServiceStub(channel), queue_service_pb2_grpc.QueueServiceStub(channel)
        asked: dict[str, Callable[[], object]] = {
            "ListJobs": partial(jobs.ListJobs, api.ListJobsRequest(), metadata=SERVICE, timeout=60),
            "ListDeadLetters": partial(queues.ListDeadLetters, ListDeadLettersRequest(), metadata=SERVICE, timeout=60),
        }
        for name, ask in asked.items():
            try:
                ask()
            except grpc.RpcError as error:
                world.wrong.append(f"{name} ends with {error.code().name}")


def mend_staging_and_redrive(world: World) -> None:
    """Somebody mends staging and then starts all dead letters again, without agreeing to any second payment."""
    answers.mend_staging(world)
    world.wait_until(lambda: world.jobs(f"state in {ENDED}") == world.asked, "the end of all", OTHERS_SECONDS)
    dead = world.running.sql.execute(
        "select id::text from superstoryboard.jobs where storyboard_id = any (%s) and state = 'DEAD_LETTERED'",
        (world.boards,),
    ).fetchall()
    if not dead:
        return
    with grpc.insecure_channel(world.running.services["ingest"].address, OWN_CONNECTION) as channel:
        queues = queue_service_pb2_grpc.QueueServiceStub(channel)
        request = RedriveDeadLettersRequest(job_ids=[row[0] for row in dead])
        try:
            queues.RedriveDeadLetters(request, metadata=SERVICE, timeout=60)
        except grpc.RpcError as error:
            world.wrong.append(f"RedriveDeadLetters ends with {error.code().name}")


def preview(world: World) -> None:
    """The source's own monitoring, again and again: it hides what waits from those who read with pgmq.read."""
    for _ in range(100):
        for queue in QUEUES:
            shown = world.running.sql.execute("select msg_id from pgmq.read(%s, 600, 10)", (queue,)).fetchall()
            world.struck += len(shown)
        world.wait(0.05)


@contextmanager
def _holding(world: World, statement: str, values: tuple[object, ...]) -> Iterator[None]:
    """A transaction of somebody else holds a row for longer than a lease."""
    with psycopg.connect(world.postgres.url) as foreign:
        world.struck += len(foreign.execute(statement, values).fetchall())
        begun = time.monotonic()
        yield
        world.wait(max(0.0, begun + HELD_SECONDS - time.monotonic()))
        foreign.rollback()


def hold_job(world: World, *, message: bool) -> None:
    """Lock the row, or the queue message, of an image that runs: only that one may wait for it."""
    pick = (
        "select id, msg_id from superstoryboard.jobs"
        " where storyboard_id = %s and kind = 'image' and state = 'RUNNING' limit 1"
    )
    world.wait_until(lambda: world.running.sql.execute(pick, (world.row,)).fetchone() is not None, "an image that runs")
    chosen = world.running.sql.execute(pick, (world.row,)).fetchone()
    if chosen is None:
        return
    statement, value = (
        ("select from pgmq.q_image_generation_queue where msg_id = %s for update", chosen[1])
        if message
        else ("select from superstoryboard.jobs where id = %s for update", chosen[0])
    )
    with _holding(world, statement, (value,)):
        others = f"state in {ENDED} and id <> '{chosen[0]}'"
        _others_end(world, lambda: world.jobs(others) >= world.asked - 1)


def make_scene_rows(world: World) -> None:
    """Scenes have rows of their own too."""
    for place in range(world.asked):
        world.running.put(f"scene:{world.row}:s{place}", {"id": f"s{place}"})


def hold_kv(world: World, key: str) -> None:
    """Lock a row that results are linked into; jobs of another storyboard must not wait for it."""
    board = f"{world.row}-other"
    with _holding(world, f"select from {KV} where key = %s for update", (key.format(row=world.row),)):
        world.add_board(board, 3)
        for place in range(3):
            submit(world, place, place, video=False, board=board)
        world.asked += 3
        ended = f"storyboard_id = '{board}' and state in {ENDED}"
        _others_end(world, lambda: world.jobs(ended) == 3)


def _others_end(world: World, holds: Callable[[], bool]) -> None:
    try:
        world.wait_until(holds, "the end of the others", OTHERS_SECONDS)
    except AssertionError:
        world.wrong.append("others wait for a lock that is not theirs")
