"""One video worker holds a thousand running operations: it polls all, stays well, and lets them go when it stops."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack.emulators.google.operations import Operation
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import Pipeline, pipeline
from tests.emulators.google_fixture import VIDEO_MODEL, GoogleEmulator, report
from tests.running import ALICE, OWN_CONNECTION, Service

OPERATIONS = 1000
POLL_SECONDS = "20"
ROUNDS = 2
MOST_MEGABYTES = 250
SERVING = health_pb2.HealthCheckResponse.SERVING

pytestmark = pytest.mark.timeout(420)


@pytest.fixture
def running(database_url: str, tmp_path: Path) -> Iterator[Pipeline]:
    with pipeline(database_url, tmp_path / "pipeline", start=("ingest", "asset_writer")) as started:
        yield started


def operation(number: int) -> Operation:
    """One that runs for longer than this test."""
    now = time.time()
    return Operation(
        id=f"op{number:04}",
        model=VIDEO_MODEL,
        prompt="a fox",
        outcome="empty_operation",
        file_id=f"file{number:04}",
        accepted_at=now,
        due_at=now + 3600,
        aspect_ratio="16:9",
        duration_seconds=4,
        resolution="720p",
        source=None,
        digest=str(number),
    )


@contextmanager
def google_with(operations: list[Operation], folder: Path) -> Iterator[GoogleEmulator]:
    specs = folder / "operations"
    specs.mkdir(parents=True)
    for each in operations:
        (specs / f"{each.id}.json").write_text(json.dumps(asdict(each)))
    with GoogleEmulator(folder).running() as emulator, emulator.client() as client:
        client.post("/_emulator/reset").raise_for_status()
        yield emulator


def accept(running: Pipeline, operations: list[Operation]) -> None:
    """A job for each operation, as a worker that is gone left it."""
    video = job_pb2.VideoGeneration(storyboard_id="many", prompt="a fox", duration_seconds="4", model=VIDEO_MODEL)
    items = [api.BatchItem(video=api.CreateVideoJobRequest(video=video)) for _ in operations]
    made = running.stub.BatchCreateJobs(api.BatchCreateJobsRequest(items=items), metadata=ALICE).results
    with running.sql.cursor() as cursor:
        cursor.executemany(
            "insert into superstoryboard.provider_calls"
            " (job_id, claim, call_hash, route, shape, model, state, operation_name, accepted_at)"
            " values (%s, 0, 'h', 'veo_gemini', 'OPERATION', %s, 'ACCEPTED', %s, clock_timestamp())",
            [(result.job.id, VIDEO_MODEL, each.name) for result, each in zip(made, operations, strict=True)],
        )


@contextmanager
def health_of(service: Service) -> Iterator[list[int]]:
    """Every state that the health service tells meanwhile."""
    told: list[int] = []
    with grpc.insecure_channel(service.address, OWN_CONNECTION) as channel:
        stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())

        def listen() -> None:
            try:
                told.extend(answer.status for answer in stream)
            except grpc.RpcError:
                return

        listener = threading.Thread(target=listen)
        listener.start()
        yield told
        stream.cancel()
        listener.join()


def megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0]) / 1024


def states(sql: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(sql.execute("select state, count(*) from superstoryboard.jobs group by state").fetchall())


def test_a_thousand_operations_are_polled_and_let_go(running: Pipeline, tmp_path: Path) -> None:
    operations = [operation(number) for number in range(OPERATIONS)]
    accept(running, operations)
    worker = running.services["video_worker"]
    with google_with(operations, tmp_path / "google") as google, google.client() as client:
        worker.start(
            GOOGLE_GEMINI_BASE_URL=google.url,
            VIDEO_CONCURRENCY=str(OPERATIONS),
            VIDEO_POLL_SECONDS=POLL_SECONDS,
            VIDEO_LEASE_SECONDS="60",
            VIDEO_TIMEOUT_SECONDS="3600",
        )
        worker.wait_serving()
        with health_of(worker) as told:
            polls: Counter[str] = Counter()
            while len(polls) < OPERATIONS or min(polls.values()) < ROUNDS:
                line = google.next_line("request")
                polls.update([line["route"]] if line["on"] == "poll" else [])
            assert megabytes(worker.pid) < MOST_MEGABYTES
            assert states(running.sql) == {"RUNNING": OPERATIONS}
        assert set(told) == {SERVING}
        worker.stop()
        assert states(running.sql) == {"QUEUED": OPERATIONS}
        assert not any(row["on"] == "submit" for row in report(client)["requests"])
    # However often they are polled: an event for the start of each, then one for each five percent.
    steps = (
        "select progress_percent - lag(progress_percent) over (partition by job_id order by sequence) as step, job_id"
        " from superstoryboard.job_events where message like 'Generating%'"
    )
    told_of = running.sql.execute(f"select count(distinct job_id), coalesce(min(step), 5) >= 5 from ({steps}) s")
    assert told_of.fetchone() == (OPERATIONS, True)
