"""Everything that the matrix breaks, on servers of its own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import psycopg
from google.protobuf.timestamp_pb2 import Timestamp

from devstack.postgres import Postgres
from devstack.rabbitmq import RabbitMQ
from superstoryboard.jobs.migrate import migrate
from superstoryboard.runtime.checkpoints import VARIABLE
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import KV, Pipeline, pipeline
from tests.faults.proxy import LossyProxy, lossy_proxy
from tests.running import ALICE, Service

STEP_SECONDS = 40.0
SUBMIT_TRIES = 40


@dataclass
class World:
    """A pipeline, what it stands on, and the chance that a row may use."""

    running: Pipeline
    postgres: Postgres
    rabbitmq: RabbitMQ
    proxy: LossyProxy
    folder: Path
    chance: random.Random
    row: str = ""
    others: list[Service] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        """Let the system run for a while."""
        threading.Event().wait(seconds)

    def some_time(self) -> None:
        """A random moment while jobs run."""
        self.wait(self.chance.uniform(0.05, 1.5))

    def arm(self, service: str, step: str) -> Path:
        """Restart a service so that it stops at the step; the file appears when it does."""
        file = self.folder / f"{self.row}-{step}"
        process = self.running.services[service]
        process.stop()
        process.start(**{VARIABLE: f"{step}:{file}"})
        process.wait_serving()
        return file

    def kill_armed(self, service: str, file: Path) -> None:
        """Wait until the service stands at its step, kill it there, and start it as usual."""
        for _ in range(int(STEP_SECONDS / 0.02)):
            if file.exists():
                break
            self.wait(0.02)
        else:
            raise AssertionError(f"{service} never came to its step")
        self.kill(service)

    def kill(self, service: str) -> None:
        """kill -9 and a new start."""
        process = self.running.services[service]
        process.kill()
        process.start()
        process.wait_serving()

    def now(self) -> datetime:
        """The time of the database."""
        row = self.running.sql.execute("select clock_timestamp()").fetchone()
        assert row is not None
        found: datetime = row[0]
        return found

    def reconnect(self) -> None:
        """A connection of ours after the database was away."""
        self.running.sql.close()
        self.running.sql = psycopg.connect(self.postgres.url, autocommit=True)

    def submit(self, number: int, scene: int, *, video: bool, delay_seconds: int = 0) -> None:
        """Ask for one job until ingest answers; the request_id makes repeats harmless."""
        name = f"{self.row}-{number}"
        fields: dict[str, Any] = {"storyboard_id": self.row, "scene_id": f"s{scene}", "prompt": f"scene {name}."}
        when = Timestamp()
        when.FromMilliseconds(int((time.time() + delay_seconds) * 1000))
        common: dict[str, Any] = {"request_id": name} | ({"schedule_time": when} if delay_seconds else {})
        for _ in range(SUBMIT_TRIES):
            try:
                if video:
                    generation = job_pb2.VideoGeneration(duration_seconds="4", **fields)
                    wanted = api.CreateVideoJobRequest(video=generation, **common)
                    self.running.stub.CreateVideoJob(wanted, metadata=ALICE, timeout=5, wait_for_ready=True)
                else:
                    request = api.CreateImageJobRequest(image=job_pb2.ImageGeneration(**fields), **common)
                    self.running.stub.CreateImageJob(request, metadata=ALICE, timeout=5, wait_for_ready=True)
            except grpc.RpcError:
                self.wait(0.25)
            else:
                return
        raise AssertionError(f"ingest did not take {name}")


@contextmanager
def world(
    seed: int, wrapper: Sequence[str] = (), prepare: Callable[[psycopg.Connection], None] | None = None
) -> Iterator[World]:
    """Start everything; stopped in order at the end.

    `wrapper` is a module, with its arguments, that runs the services; `prepare` is called before they start.
    """
    with ExitStack() as stack:
        names = ("postgres-", "rabbitmq-", "faults-")
        folders = [Path(stack.enter_context(TemporaryDirectory(prefix=name))) for name in names]
        rabbitmq = stack.enter_context(RabbitMQ(folders[1]))
        postgres = stack.enter_context(Postgres(folders[0], settings={"fsync": "off"}))
        migrate(postgres.url, kv_table=KV)
        if prepare is not None:
            with psycopg.connect(postgres.url, autocommit=True) as connection:
                prepare(connection)
        storage = {"STORAGE_TIMEOUT_SECONDS": "6"}
        lease = storage | {"IMAGE_LEASE_SECONDS": "5", "VIDEO_LEASE_SECONDS": "5"}
        started = stack.enter_context(
            pipeline(
                postgres.url,
                folders[2],
                rabbitmq.url,
                wrapper=wrapper,
                image_worker=lease,
                video_worker=lease,
                asset_writer=storage,
            )
        )
        proxy = stack.enter_context(lossy_proxy(postgres.url))
        yield World(started, postgres, rabbitmq, proxy, folders[2], random.Random(seed))
