"""A trace goes from the request to the stored asset: row, hint and the log lines of every process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superstoryboard.domain.kinds import IMAGE
from superstoryboard.domain.traces import trace_id
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import Pipeline, pipeline
from tests.running import ALICE
from tests.waiting import wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def running(database_url: str, amqp_url: str, tmp_path: Path) -> Iterator[Pipeline]:
    with pipeline(database_url, tmp_path, amqp_url, ("ingest", "image_worker", "asset_writer")) as started:
        yield started


def asked(running: Pipeline, *metadata: tuple[str, str]) -> job_pb2.Job:
    generation = job_pb2.ImageGeneration(storyboard_id="traced", prompt="a fox", scene_id="s1")
    request = api.CreateImageJobRequest(image=generation)
    return running.stub.CreateImageJob(request, metadata=(*ALICE, *metadata)).job


def lines(folder: Path, service: str, job: job_pb2.Job) -> list[dict[str, Any]]:
    """What a service logged of a job."""
    said = [json.loads(line) for line in (folder / f"{service}.log").read_text().splitlines() if line.startswith("{")]
    return [line for line in said if line.get("job_id") == job.id]


def written(folder: Path, job: job_pb2.Job) -> list[dict[str, Any]]:
    """What the asset_writer logged of a job to its end, which comes after the job's own."""
    wait_for(lambda: "Asset written" in {line["event"] for line in lines(folder, "asset_writer", job)})
    return lines(folder, "asset_writer", job)


def kept(running: Pipeline, job: job_pb2.Job) -> str:
    row = running.sql.execute("select traceparent from superstoryboard.jobs where id = %s", (job.id,)).fetchone()
    assert row is not None
    return str(row[0])


def test_the_callers_trace_is_in_every_line_of_its_job(running: Pipeline, tmp_path: Path) -> None:
    (job,) = running.succeeded(asked(running, ("traceparent", TRACEPARENT)))
    assert kept(running, job) == TRACEPARENT
    said = [*lines(tmp_path, "image_worker", job), *written(tmp_path, job)]
    assert "Attempt started" in {line["event"] for line in said}
    assert {line["trace_id"] for line in said} == {TRACE}
    assert f'"trace_id": "{TRACE}"' in (tmp_path / "ingest.log").read_text()


@pytest.mark.parametrize("metadata", [(), (("traceparent", "rubbish"),)])
def test_a_request_without_a_trace_begins_one(running: Pipeline, tmp_path: Path, metadata: Any) -> None:
    (job,) = running.succeeded(asked(running, *metadata))
    trace = trace_id(kept(running, job))
    assert len(trace) == 32
    assert {line["trace_id"] for line in written(tmp_path, job)} == {trace}


def test_a_message_that_anyone_sends_begins_one(running: Pipeline, tmp_path: Path) -> None:
    body = json.dumps({"storyboardId": "traced", "prompt": "a fox", "sceneId": "s2"})
    running.sql.execute("select public.pgmq_send(%s, %s::jsonb)", (IMAGE.queue, body))
    row = running.sql.execute("select id::text from superstoryboard.jobs where scene_id = 's2'").fetchone()
    assert row is not None
    (job,) = running.succeeded(job_pb2.Job(id=row[0]))
    said = [*lines(tmp_path, "image_worker", job), *written(tmp_path, job)]
    assert {line["trace_id"] for line in said} == {trace_id(kept(running, job))} != {""}
