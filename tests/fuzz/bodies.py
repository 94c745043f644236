"""Bodies of the queues: sent by SQL as anyone may who can send, and processed by the workers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import grpc
import psycopg

from superstoryboard.v1.queue_service_pb2 import ResumeQueueRequest
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.e2e.pipeline import Pipeline
from tests.fuzz.planted import PROMPT, SIGNED
from tests.fuzz.tally import Tally
from tests.fuzz.values import mutated, values
from tests.running import OWN_CONNECTION, SERVICE
from tests.waiting import wait_for

QUEUES = {"image_worker": "image_generation_queue", "video_worker": "video_generation_queue"}
VIDEO_SHARE = 0.25
WAIT_SECONDS = 600.0
OPEN = "state not in ('SUCCEEDED', 'FAILED', 'DEAD_LETTERED', 'CANCELLED')"
GOOD: dict[str, Any] = {
    "storyboardId": "fuzz-board",
    "sceneId": "scene-1",
    "type": "image",
    "prompt": PROMPT,
    "aspectRatio": "16:9",
    "sourceImageUrl": SIGNED,
    "model": "gemini-nano-banana-2.1",
    "durationSeconds": "4",
    "resolution": "720p",
    "metadata": {"labels": {"a": "b"}, "attempt": 1},
    "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
}


def fuzz_bodies(running: Pipeline, seed: int, count: int, tally: Tally, services: Sequence[str]) -> None:
    """Send `count` bodies to the queues of these services, and wait until every job that came of them has ended."""
    queues = [queue for name, queue in QUEUES.items() if name in services]
    odd = values(seed + 1, max(50, count // 2))
    chance = random.Random(seed)
    _resume(running)
    sent = 0
    for _ in range(count):
        body = mutated(chance, GOOD, odd) if chance.random() < 0.7 else chance.choice(odd)
        queue = queues[-1] if chance.random() < VIDEO_SHARE else queues[0]
        try:
            running.sql.execute("select pgmq.send(%s, %s::jsonb)", (queue, json.dumps(body)))
            sent += 1
        except (psycopg.DataError, psycopg.errors.RaiseException) as error:
            tally.ended("queue bodies", queue, f"refused by SQL ({type(error).__name__})", body)
    wait_for(lambda: _left(running, sent), lambda left: not left, what="the end of every job", seconds=WAIT_SECONDS)
    for queue, ending, number in running.sql.execute(
        "select queue, case when state = 'SUCCEEDED' then state else coalesce(error ->> 'code', state) end, count(*)"
        " from superstoryboard.jobs where owner = 'sql' group by 1, 2"
    ).fetchall():
        for _ in range(number):
            tally.ended("queue bodies", queue, ending, "a body, see the service's log")


def _resume(running: Pipeline) -> None:
    """Fuzzed calls of PauseQueue pause queues: nothing would be claimed."""
    with grpc.insecure_channel(running.services["ingest"].address, OWN_CONNECTION) as channel:
        for queue in QUEUES.values():
            QueueServiceStub(channel).ResumeQueue(ResumeQueueRequest(queue=queue), metadata=SERVICE)


def _left(running: Pipeline, sent: int) -> int:
    """Bodies that have not ended; the sweep adopts those whose trigger was not there."""
    record = running.sql.execute(
        f"select count(*) filter (where not ({OPEN})) from superstoryboard.jobs where owner = 'sql'"
    ).fetchone()
    assert record is not None
    return sent - int(record[0])
