"""Each thing the processes stand on goes away while jobs run: they go on by themselves, and nothing is paid twice."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aio_pika
import psycopg
import pytest

from devstack.stack.postgres import Postgres, StopMode
from devstack.stack.rabbitmq import RabbitMQ
from superstoryboard.broker.artifacts import DEAD_QUEUE, READY_QUEUE
from superstoryboard.db.migrate import migrate
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import KV, NAMES, Pipeline, pipeline
from tests.emulators.storage_fixture import start_emulator, stop_emulator
from tests.running import Service
from tests.waiting import wait_for

MAX_LINES = 60
"""More than this in one log, for a few seconds and a few jobs, would be a loop that does not wait."""
AWAY = "The database is unavailable; waiting for it"
NOT_LISTENING = "LISTEN is unavailable; polling until it is restored"
BROKER_AWAY = "RabbitMQ is unavailable; retrying"
BROKER_BACK = "Connected to RabbitMQ"
NOT_PUBLISHED = "ArtifactReady was not published; the asset_writer polls for the artifact"
USES_BROKER = ("image_worker", "video_worker", "asset_writer")

pytestmark = pytest.mark.timeout(300)


@dataclass
class Log:
    """What a process has written since a moment."""

    service: Service
    start: int

    @classmethod
    def from_now(cls, service: Service) -> Log:
        return cls(service, service.log.stat().st_size)

    def lines(self) -> list[dict[str, Any]]:
        text = self.service.log.read_bytes()[self.start :]
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]

    def count(self, event: str) -> int:
        return sum(line["event"] == event for line in self.lines())

    def wait(self, event: str) -> None:
        wait_for(lambda: self.count(event), what=event)


@dataclass
class World:
    """A pipeline and everything it stands on."""

    running: Pipeline
    postgres: Postgres
    rabbitmq: RabbitMQ
    stack: ExitStack
    logs: dict[str, Log] = field(default_factory=dict)

    @contextmanager
    def nobody_ends(self) -> Iterator[None]:
        """The same processes run before and after, and none writes more than a few lines."""
        services = self.running.services
        self.logs = {name: Log.from_now(services[name]) for name in NAMES}
        before = {name: services[name].pid for name in NAMES}
        yield
        assert {name: services[name].pid for name in NAMES} == before
        for name, log in self.logs.items():
            assert len(log.lines()) < MAX_LINES, (name, log.lines())

    @contextmanager
    def paying_once(self, images: int = 0, videos: int = 0) -> Iterator[None]:
        """Paid calls = assets."""
        before = self.running.accepted()
        yield
        now = self.running.accepted()
        assert (now["image"] - before["image"], now["video"] - before["video"]) == (images, videos)

    def hold_images(self, count: int) -> list[job_pb2.Job]:
        """Jobs whose calls have reached Google, which does not answer before it is told to."""
        before = self.running.accepted()["image"]
        self.running.script({"on": "image", "hold": True, "times": count})
        jobs = [self.running.image(f"held-{before}-{number}") for number in range(count)]
        wait_for(self.running.accepted, lambda accepted: accepted["image"] == before + count)
        return jobs

    def release(self, count: int) -> None:
        """Let Google answer calls that are held; one that was only just accepted is held a moment later."""
        released = 0
        while released < count:
            released += self.running.google.post("/_emulator/release").raise_for_status().json()["released"]

    def stop_storage(self) -> None:
        assert stop_emulator(self.running.storage_emulator) == 0

    def start_storage(self) -> None:
        old = self.running.storage_emulator
        port = old.url.rpartition(":")[2]
        self.running.storage_emulator = start_emulator(old.database_url, old.state_dir, "--port", port)
        self.stack.callback(stop_emulator, self.running.storage_emulator)

    def database_returns(self) -> None:
        self.postgres.start()
        self.running.sql.close()
        self.running.sql = self.stack.enter_context(psycopg.connect(self.postgres.url, autocommit=True))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory(prefix=name))) for name in ("postgres-", "rabbitmq-")]
        rabbitmq = stack.enter_context(RabbitMQ(folders[1]))
        postgres = stack.enter_context(Postgres(folders[0], settings={"fsync": "off"}))
        migrate(postgres.url, kv_table=KV)
        folder = tmp_path_factory.mktemp("outages")
        # Shorter than the outages: a worker that comes back keeps the jobs it holds.
        lasting = {"IMAGE_LEASE_SECONDS": "3", "VIDEO_LEASE_SECONDS": "3"}
        started = stack.enter_context(
            pipeline(postgres.url, folder, rabbitmq.url, image_worker=lasting, video_worker=lasting)
        )
        yield World(started, postgres, rabbitmq, stack.enter_context(ExitStack()))


@pytest.mark.parametrize("mode", [StopMode.FAST, StopMode.KILL])
def test_postgres_restarts_while_jobs_run(world: World, mode: StopMode) -> None:
    running = world.running
    with world.nobody_ends(), world.paying_once(images=4, videos=1):
        jobs = [*world.hold_images(3), running.video(f"restart-{mode.name}")]
        wait_for(running.accepted, lambda accepted: accepted["video"] > 0)
        world.postgres.stop(mode)
        for service in running.services.values():
            service.wait_not_serving()
        world.release(3)
        world.database_returns()
        for service in running.services.values():
            service.wait_serving()
        running.succeeded(*jobs, running.image(f"after-{mode.name}"))
    assert {name: log.count(AWAY) for name, log in world.logs.items()} == dict.fromkeys(NAMES, 1)
    assert max(log.count(NOT_LISTENING) for log in world.logs.values()) == 3, "one for each channel of a worker"


def test_all_connections_to_postgres_are_ended_while_jobs_run(world: World) -> None:
    running = world.running
    with world.nobody_ends(), world.paying_once(images=4):
        jobs = world.hold_images(3)
        running.sql.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'superstoryboard-%' and pid <> pg_backend_pid()"
        )
        world.release(3)
        running.succeeded(*jobs, running.image("after-terminated"))
    assert max(log.count(AWAY) for log in world.logs.values()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_rabbitmq_restarts_while_jobs_run(world: World, number: signal.Signals) -> None:
    running = world.running
    with world.nobody_ends(), world.paying_once(images=4):
        jobs = world.hold_images(2)
        world.rabbitmq.stop(number)
        world.release(2)
        running.succeeded(*jobs, running.image("without-a-broker"))
        world.rabbitmq.start()
        for name in USES_BROKER:
            world.logs[name].wait(BROKER_BACK)
        deliveries_pass(world)
    for name in USES_BROKER:
        assert world.logs[name].count(BROKER_AWAY) == 1, world.logs[name].lines()


def test_a_queue_that_was_deleted_is_made_and_consumed_again(world: World) -> None:
    with world.nobody_ends(), world.paying_once(images=1):
        asyncio.run(delete_queue(world.rabbitmq.url, READY_QUEUE))
        world.logs["asset_writer"].wait(BROKER_BACK)
        deliveries_pass(world)


def test_storage_is_away_while_images_are_made(world: World) -> None:
    running = world.running
    with world.nobody_ends(), world.paying_once(images=3):
        jobs = world.hold_images(3)
        world.stop_storage()
        world.release(3)
        world.logs["image_worker"].wait("Staging upload failed; retrying")
        world.start_storage()
        assert [job.attempt for job in running.succeeded(*jobs)] == [1, 1, 1]


def test_google_is_away_while_jobs_run(world: World) -> None:
    running = world.running
    with world.nobody_ends(), world.paying_once(images=2, videos=1):
        before = running.accepted()["video"]
        film = running.video("google-away")
        wait_for(running.accepted, lambda accepted: accepted["video"] == before + 1)
        running.google_emulator.stop()
        jobs = [running.image("google-away") for _ in range(2)]
        for job in jobs:
            assert running.until(job, job_pb2.JOB_STATE_RETRYING).error.code == "PROVIDER_UNREACHABLE"
        running.google_emulator.start()
        running.succeeded(*jobs, film)


def test_a_drain_lets_an_image_in_flight_end(world: World) -> None:
    worker = world.running.services["image_worker"]
    log = Log.from_now(worker)
    with world.paying_once(images=1):
        jobs = world.hold_images(1)
        worker.terminate()
        log.wait("Draining")
        world.release(1)
        assert worker.wait_end() == 0
        (made,) = world.running.succeeded(*jobs)
    assert made.attempt == 1
    worker.start()
    worker.wait_serving()


def test_a_second_signal_ends_a_drain_at_once(world: World) -> None:
    worker = world.running.services["image_worker"]
    log = Log.from_now(worker)
    (job,) = world.hold_images(1)
    worker.terminate()
    log.wait("Draining")
    worker.terminate()
    assert worker.wait_end() == -signal.SIGTERM
    world.release(1)
    world.running.sql.execute("select pgmq.archive('image_generation_queue', %s::bigint)", (job.msg_id,))
    worker.start()
    worker.wait_serving()


def deliveries_pass(world: World) -> None:
    """A worker's message is published, routed, consumed and acked; nothing is left in any queue."""
    log = Log.from_now(world.running.services["image_worker"])
    world.running.succeeded(world.running.image("delivered"))
    log.wait("Attempt ended")
    assert log.count(NOT_PUBLISHED) == 0
    gone = {"consumers": 1, "messages": 0}
    wait_for(
        lambda: asyncio.run(queue_facts(world.rabbitmq.url)),
        lambda facts: facts == {READY_QUEUE: gone, DEAD_QUEUE: gone},
    )


async def queue_facts(url: str) -> dict[str, dict[str, int]]:
    async with await aio_pika.connect(url, timeout=60) as connection:
        channel = await connection.channel()
        facts = {}
        for name in (READY_QUEUE, DEAD_QUEUE):
            declared = (await channel.declare_queue(name, passive=True)).declaration_result
            facts[name] = {"consumers": declared.consumer_count or 0, "messages": declared.message_count or 0}
        return facts


async def delete_queue(url: str, name: str) -> None:
    async with await aio_pika.connect(url, timeout=60) as connection:
        await (await connection.channel()).queue_delete(name)
