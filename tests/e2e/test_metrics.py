"""What workers and the asset_writer count while they work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.stack.ports import free_port
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import Pipeline, pipeline
from tests.emulators.google_fixture import IMAGE_MODEL
from tests.scrape import Samples, scrape, scrape_until

WORKING = ("ingest", "image_worker", "asset_writer")


@pytest.fixture
def pages() -> dict[str, str]:
    """Addresses of the pages."""
    return {name: f"127.0.0.1:{free_port()}" for name in WORKING}


@pytest.fixture
def running(database_url: str, amqp_url: str, pages: dict[str, str], tmp_path: Path) -> Iterator[Pipeline]:
    changes: dict[str, Any] = {name: {"METRICS_LISTEN": address} for name, address in pages.items()}
    with pipeline(database_url, tmp_path, amqp_url, WORKING, **changes) as started:
        yield started


def test_a_picture_and_a_refusal_are_counted_by_everyone_who_had_a_part(
    running: Pipeline, pages: dict[str, str]
) -> None:
    running.script_storage({"on": "upload", "path_contains": "artifact-staging", "status": 503})
    running.script({"on": "image", "prompt_contains": "forbidden", "kind": "image_safety"})
    (made,) = running.succeeded(running.image("metrics", scene_id="s1"))
    (refused,) = running.finished(running.image("metrics", "a forbidden fruit"))
    assert refused.state == job_pb2.JOB_STATE_FAILED

    def both_attempts(page: Samples) -> bool:
        return page("worker_attempt_seconds_count", kind="image") == 2

    worker = scrape_until(pages["image_worker"], both_attempts)
    assert worker("worker_attempts_total", kind="image", outcome="STAGED", error_class="NONE") == 1
    assert worker("worker_attempts_total", kind="image", outcome="FAILED", error_class="REFUSED") == 1
    assert worker("worker_running_jobs", kind="image") == 0
    assert worker("worker_lost_leases_total", kind="image") == 0
    assert worker("provider_calls_total", model=IMAGE_MODEL, outcome="ACCEPTED") == 1
    assert worker("provider_calls_total", model=IMAGE_MODEL, outcome="UNPAID") == 1
    assert worker("provider_call_seconds_count", model=IMAGE_MODEL) == 2
    assert worker("handoff_hints_total", outcome="published") == 1
    assert worker("dependency_outages_total", dependency="storage") == 1
    assert [worker("dependency_away", dependency=name) for name in ("database", "broker", "storage")] == [0, 0, 0]

    def written(page: Samples) -> bool:
        return page("writer_artifacts_total", kind="image", outcome="written") == 1

    writer = scrape_until(pages["asset_writer"], written)
    assert writer("writer_deliveries_total", outcome="taken") == 1
    assert writer("writer_written_bytes_total", kind="image") == made.asset.size_bytes
    assert writer("writer_write_seconds_count", kind="image") == 1
    ingest = scrape(pages["ingest"])
    assert ingest("rpc_calls_total", method="GenerationService/CreateImageJob", code="OK") == 2
    for page in (worker, writer, ingest):
        assert made.id not in page.text
