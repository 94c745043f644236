"""The metrics page of a real ingest: calls, sweeps, queues, and a database that goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import psycopg
import pytest
from prometheus_client import CollectorRegistry

from devstack.stack.ports import free_port
from devstack.stack.postgres import Postgres
from services.ingest import queues
from superstoryboard.db.database import Database
from superstoryboard.jobs.store import JobStore
from superstoryboard.telemetry.queue_metrics import QueueMetrics
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.conftest import TEMPLATE, admin
from tests.integration.helpers import IMAGE_QUEUE, VIDEO_QUEUE, accept
from tests.integration.ingest_calls import image, refused
from tests.running import ALICE, SERVICE, running
from tests.scrape import scrape, scrape_until
from tests.waiting import awaited

GET_JOB = "GenerationService/GetJob"
WATCH_JOBS = "GenerationService/WatchJobs"


@pytest.fixture(scope="module")
def address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def channel(postgres: Postgres, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    """To an ingest that finds four messages in a queue, two of them without a job, when it starts."""
    admin(postgres, f"create database metrics template {TEMPLATE}")
    url = postgres.url_of("metrics")
    with psycopg.connect(url, autocommit=True) as sql:
        two = "select pgmq.send(%s, '{}') from generate_series(1, 2)"
        sql.execute(two, (IMAGE_QUEUE,))
        # Where there is no right to make a trigger, a sweep adopts.
        sql.execute("drop trigger superstoryboard_adopt on pgmq.q_image_generation_queue")
        sql.execute(two, (IMAGE_QUEUE,))
    settings = {"DATABASE_URL": url, "METRICS_LISTEN": address}
    log = tmp_path_factory.mktemp("metrics") / "log"
    with running("ingest", settings, log) as service, grpc.insecure_channel(service.address) as opened:
        yield opened
    admin(postgres, "drop database metrics with (force)")


def test_sweeps_are_counted_by_duty(channel: grpc.Channel, address: str) -> None:
    for _ in range(2):
        QueueServiceStub(channel).Sweep(queue_api.SweepRequest(), metadata=SERVICE)
    series = scrape(address)
    assert series("sweep_runs_total", outcome="ran") == 2
    assert series("sweep_changed_total", duty="adopt_messages") == 2
    assert series("sweep_changed_total", duty="bury_overdue") == 0
    assert series("rpc_calls_total", method="QueueService/Sweep", code="OK") == 2


def test_calls_are_counted_by_method_and_code(channel: grpc.Channel, address: str) -> None:
    stub = GenerationServiceStub(channel)
    job = stub.CreateImageJob(api.CreateImageJobRequest(image=image()), metadata=ALICE).job
    read = api.GetJobRequest(job_id=job.id)
    for _ in range(2):
        stub.GetJob(read, metadata=ALICE)
    assert refused(lambda: stub.GetJob(read)).code() is grpc.StatusCode.UNAUTHENTICATED
    watching = stub.WatchJobs(api.WatchJobsRequest(job_ids=[job.id]), metadata=ALICE)
    next(iter(watching))
    watching.cancel()  # type: ignore[no-untyped-call]  # grpc
    series = scrape_until(address, lambda page: page("rpc_calls_total", method=WATCH_JOBS, code="CANCELLED") == 1)
    assert series("rpc_calls_total", method=GET_JOB, code="OK") == 2
    assert series("rpc_calls_total", method=GET_JOB, code="UNAUTHENTICATED") == 1
    assert series("rpc_call_seconds_count", method=GET_JOB) == 3
    assert series("rpc_call_seconds_count", method=WATCH_JOBS) is None
    assert job.id not in series.text
    assert "alice" not in series.text


@pytest.mark.usefixtures("channel")
def test_queues_are_shown_as_they_were_at_the_last_look(address: str) -> None:
    series = scrape_until(address, lambda page: page("queue_depth_messages", queue=VIDEO_QUEUE) == 0)
    assert (series("queue_depth_messages", queue=IMAGE_QUEUE) or 0) >= 2
    assert (series("queue_oldest_message_age_seconds", queue=IMAGE_QUEUE) or 0) > 0
    assert series("queue_paused", queue=IMAGE_QUEUE) == 0


@pytest.mark.usefixtures("channel")
def test_a_database_that_goes_away_is_one_outage(postgres: Postgres, address: str) -> None:
    assert scrape(address)("dependency_outages_total", dependency="database") == 0
    admin(postgres, "alter database metrics with allow_connections false")
    admin(postgres, "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'metrics'")
    scrape_until(address, lambda page: page("dependency_away", dependency="database") == 1)
    admin(postgres, "alter database metrics with allow_connections true")
    series = scrape_until(address, lambda page: page("dependency_away", dependency="database") == 0)
    assert series("dependency_outages_total", dependency="database") == 1


async def test_gauges_of_queues_are_empty_while_the_database_is_away(
    database: Database, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "GAUGE_SECONDS", 0.02)
    registry = CollectorRegistry()
    await accept(database)
    keeping = asyncio.create_task(queues.keep_gauges(JobStore(database), QueueMetrics(registry)))

    async def depth() -> float | None:
        return registry.get_sample_value("superstoryboard_queue_depth_messages", {"queue": IMAGE_QUEUE})

    await awaited(depth, lambda value: value == 1, beside=keeping)
    sql.execute("alter schema superstoryboard rename to elsewhere")
    await awaited(depth, lambda value: value is None, beside=keeping)
    sql.execute("alter schema elsewhere rename to superstoryboard")
    await awaited(depth, lambda value: value == 1, beside=keeping)
    keeping.cancel()
