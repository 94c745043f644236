"""All processes of the pipeline against emulators, on a database of the test session."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg

from devstack.stack.ports import free_port
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2, worker_service_pb2, worker_service_pb2_grpc
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.emulators import google_fixture, storage_fixture
from tests.running import ALICE, OWN_CONNECTION, SERVICE, Service

KV = "kv_store_7ee7668a"
NAMES = ("ingest", "image_worker", "video_worker", "asset_writer")
WAIT_SECONDS = 120.0
# A client that tries again within a second while its server is away.
CLIENT = (("grpc.max_reconnect_backoff_ms", 1000),)


@dataclass
class Pipeline:
    """Handles to everything that runs."""

    database_url: str
    google: httpx.Client
    storage_url: str
    services: dict[str, Service]
    sql: psycopg.Connection
    stub: GenerationServiceStub
    google_emulator: google_fixture.GoogleEmulator
    storage_emulator: storage_fixture.RunningEmulator

    def image(self, storyboard: str, prompt: str = "a fox in the snow", **fields: Any) -> job_pb2.Job:
        """Ask for an image."""
        generation = job_pb2.ImageGeneration(storyboard_id=storyboard, prompt=prompt, **fields)
        return self.stub.CreateImageJob(api.CreateImageJobRequest(image=generation), metadata=ALICE).job

    def video(self, storyboard: str, prompt: str = "a fox runs", **fields: Any) -> job_pb2.Job:
        """Ask for a video of four seconds."""
        generation = job_pb2.VideoGeneration(
            **({"storyboard_id": storyboard, "prompt": prompt, "duration_seconds": "4"} | fields)
        )
        return self.stub.CreateVideoJob(api.CreateVideoJobRequest(video=generation), metadata=ALICE).job

    def finished(self, *jobs: job_pb2.Job) -> list[job_pb2.Job]:
        """Wait until jobs are terminal, and read them."""
        ids = [job.id for job in jobs]
        request = api.WatchJobsRequest(job_ids=ids, until_terminal=True)
        for _ in self.stub.WatchJobs(request, metadata=SERVICE, timeout=WAIT_SECONDS):
            continue
        return [self.get(job_id) for job_id in ids]

    def get(self, job_id: str) -> job_pb2.Job:
        """A job as it is now."""
        return self.stub.GetJob(api.GetJobRequest(job_id=job_id), metadata=SERVICE).job

    def succeeded(self, *jobs: job_pb2.Job) -> list[job_pb2.Job]:
        """As finished, and every one must have its asset."""
        done = self.finished(*jobs)
        assert [job.state for job in done] == [job_pb2.JOB_STATE_SUCCEEDED] * len(jobs), done
        return done

    def until(self, job: job_pb2.Job, state: int) -> job_pb2.Job:
        """Wait for an event of this state."""
        request = api.WatchJobsRequest(job_ids=[job.id])
        for answer in self.stub.WatchJobs(request, metadata=SERVICE, timeout=WAIT_SECONDS):
            if answer.event.state == state:
                return self.get(job.id)
        raise AssertionError("the stream ended")

    def process(self, worker: str, maximum: int = 0, seconds: float = WAIT_SECONDS) -> Any:
        """Have a worker process messages now."""
        with grpc.insecure_channel(self.services[worker].address, OWN_CONNECTION) as channel:
            stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
            request = worker_service_pb2.ProcessQueueRequest(max_messages=maximum)
            return stub.ProcessQueue(request, metadata=SERVICE, timeout=seconds)

    def send(self, queue: str, body: Any) -> job_pb2.Job:
        """Enqueue by plain SQL; the job that adopts the message, once there is one."""
        row = self.sql.execute("select pgmq.send(%s, %s::jsonb)", (f"{queue}_generation_queue", json.dumps(body)))
        record = row.fetchone()
        assert record is not None
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:  # until the worker or this sweep has adopted it
            self.sql.execute("select superstoryboard.sweep()")
            job = self.sql.execute(
                "select id from superstoryboard.jobs where queue = %s and msg_id = %s",
                (f"{queue}_generation_queue", record[0]),
            ).fetchone()
            if job is not None:
                return job_pb2.Job(id=str(job[0]), msg_id=record[0])
        raise AssertionError("nobody adopted the message")

    def wait_for_row(self, statement: str, values: tuple[Any, ...]) -> None:
        """Ask the database until there is a row."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self.sql.execute(statement, values).fetchone() is None:
            assert time.monotonic() < deadline, statement

    def put(self, key: str, value: Any) -> None:
        """Write a row of the kv table."""
        self.sql.execute(f"insert into {KV} values (%s, %s)", (key, json.dumps(value)))

    def kv(self, key: str) -> Any:
        """Read a row of the kv table."""
        record = self.sql.execute(f"select value from {KV} where key = %s", (key,)).fetchone()
        assert record is not None, key
        return record[0]

    def script(self, *entries: dict[str, Any]) -> None:
        """Tell the Google emulator what to answer next."""
        google_fixture.script(self.google, *entries)

    def script_storage(self, *entries: dict[str, Any]) -> None:
        """Tell the Storage emulator what to answer next."""
        httpx.post(f"{self.storage_url}/_emulator/script", json=list(entries)).raise_for_status()

    def accepted(self) -> dict[str, int]:
        """Paid calls that the Google emulator has accepted."""
        counts: dict[str, int] = google_fixture.report(self.google)["accepted"]
        return counts

    def fetch(self, job: job_pb2.Job) -> bytes:
        """The stored bytes, by public URL."""
        return httpx.get(job.asset.url, timeout=WAIT_SECONDS).raise_for_status().content


def settings(database_url: str, storage_url: str, google_url: str, amqp_url: str) -> dict[str, dict[str, str]]:
    """Settings per process: each holds only what its security context may."""
    common = {
        "DATABASE_URL": database_url,
        "DATABASE_LISTEN_URL": database_url,
        "VIDEO_MODEL": google_fixture.VIDEO_MODEL,
    }
    handing = common | {"SUPABASE_URL": storage_url, "AMQP_URL": amqp_url}
    worker = handing | {
        "SUPABASE_STAGING_KEY": storage_fixture.STAGING_KEY,
        "GOOGLE_GENERATIVE_AI_API_KEY": google_fixture.KEY,
        "GOOGLE_GEMINI_BASE_URL": google_url,
        "GOOGLE_VERTEX_API_KEY": google_fixture.KEY,
        "GOOGLE_VERTEX_BASE_URL": google_url,
        "RETRY_DELAY_SECONDS": "1",
        "IMAGE_REQUESTS_PER_MINUTE": "0",
        "VIDEO_REQUESTS_PER_MINUTE": "0",
        "VIDEO_RUNNING_OPERATIONS": "0",
        "STAGING_PATIENCE_SECONDS": "1",
    }
    return {
        "ingest": common,
        "image_worker": worker | {"IMAGE_LEASE_SECONDS": "3"},
        "video_worker": worker
        | {
            "VIDEO_LEASE_SECONDS": "3",
            "VIDEO_POLL_SECONDS": "0.2",
            "VIDEO_GONE_SECONDS": "1",
            "LOST_OPERATION_SEARCH_SECONDS": "5",
        },
        "asset_writer": handing
        | {"SUPABASE_SECRET_KEY": storage_fixture.SECRET_KEY, "WRITER_LEASE_SECONDS": "3", "WRITER_POLL_SECONDS": "1"},
    }


@contextmanager
def pipeline(
    database_url: str,
    folder: Path,
    amqp_url: str = "",
    start: Sequence[str] = NAMES,
    wrapper: Sequence[str] = (),
    *,
    google_options: Sequence[str] = (),
    **changes: dict[str, str],
) -> Iterator[Pipeline]:
    """The emulators and the named services; `changes` are further settings by service.

    `wrapper` is a module with its arguments that runs the services in place of Python alone; `google_options` are
    further arguments of the Google emulator.
    """
    with ExitStack() as stack:
        port = str(free_port())  # the same after a restart
        emulator = google_fixture.GoogleEmulator(folder / "google", "--port", port, *google_options)
        google = stack.enter_context(emulator.running())
        storage = stack.enter_context(storage_fixture.running_emulator(database_url, folder / "storage"))
        chosen = settings(database_url, storage.url, google.url, amqp_url)
        services = {
            name: Service(name, chosen[name] | changes.get(name, {}), folder / f"{name}.log", wrapper) for name in NAMES
        }
        for name in start:
            services[name].start()
        for service in services.values():
            stack.callback(service.stop)
        for name in start:
            services[name].wait_serving()
        channel = stack.enter_context(grpc.insecure_channel(services["ingest"].address, CLIENT))
        sql = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        client = stack.enter_context(google.client())
        stub = GenerationServiceStub(channel)
        yield Pipeline(database_url, client, storage.url, services, sql, stub, google, storage)
