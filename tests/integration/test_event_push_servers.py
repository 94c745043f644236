"""Events over RabbitMQ from real processes of ingest, over kills and restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import aio_pika
import psycopg
import pytest

from devstack.stack.postgres import Postgres
from devstack.stack.rabbitmq import RabbitMQ
from superstoryboard.db.database import Database
from tests.conftest import TEMPLATE, admin
from tests.integration.pushes import WAIT_SECONDS, Backend, assert_in_order, begun, consuming, log_of, publishing, write
from tests.running import Service, base_env
from tests.waiting import wait_for

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "consume_events.py"

pytestmark = pytest.mark.timeout(300)


@dataclass
class World:
    """A database, a broker of its own, and ingests that push."""

    database_url: str
    rabbitmq: RabbitMQ
    ingest: Service

    def holder(self) -> UUID | None:
        with psycopg.connect(self.database_url, autocommit=True) as sql:
            row = sql.execute(
                "select holder from superstoryboard.event_feeds where held_until > clock_timestamp()"
            ).fetchone()
        return row[0] if row else None

    def wait_holder(self, accepts: Callable[[UUID | None], bool]) -> UUID | None:
        return wait_for(self.holder, accepts)


@pytest.fixture
def world(postgres: Postgres, tmp_path: Path) -> Iterator[World]:
    name = f"pushes_{uuid4().hex}"
    admin(postgres, f"create database {name} template {TEMPLATE}")
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="rabbitmq-"))
        rabbitmq = stack.enter_context(RabbitMQ(Path(folder)))
        url = postgres.url_of(name)
        settings = {"DATABASE_URL": url, "DATABASE_LISTEN_URL": url, "EVENTS_AMQP_URL": rabbitmq.url}
        ingest = Service("ingest", settings, tmp_path / "ingest.log")
        stack.callback(ingest.stop)
        ingest.start()
        ingest.wait_serving()
        yield World(url, rabbitmq, ingest)
    admin(postgres, f"drop database {name} with (force)")


# A quorum queue that was made in the very second before a kill may not come back; that is RabbitMQ's, not ours.
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, "quorum"), (signal.SIGKILL, "classic")])
async def test_nothing_is_lost_over_a_kill_of_ingest_and_a_restart_of_rabbitmq(
    world: World, number: signal.Signals, kind: str
) -> None:
    database = await Database.connect(world.database_url, name="test", pool_size=20)
    backend = Backend(kind)
    await begun(database)
    async with await aio_pika.connect(world.rabbitmq.url, timeout=10) as connection:
        await backend.declare(await connection.channel())
    before = await log_of(database)
    writers = asyncio.gather(*(write(database, 30) for _ in range(10)))
    await asyncio.to_thread(wait_for, lambda: _moved(world), lambda moved: moved["position"] > min(before, default=0))
    world.ingest.kill()
    world.ingest.start()
    await asyncio.to_thread(world.rabbitmq.stop, number)
    await asyncio.to_thread(world.rabbitmq.start)
    await writers
    await write(database, 1)
    expected = await log_of(database) - before
    async with consuming(world.rabbitmq.url, backend):
        events = await backend.has(expected)
    assert_in_order(events)
    assert await asyncio.to_thread(world.wait_holder, lambda holder: holder is not None)
    await database.aclose()


def _moved(world: World) -> dict[str, int]:
    with psycopg.connect(world.database_url, autocommit=True) as sql:
        row = sql.execute("select last_sequence from superstoryboard.event_feeds").fetchone()
    return {"position": row[0] if row else 0}


async def test_two_ingests_publish_without_disorder_and_the_second_goes_on(world: World) -> None:
    database = await Database.connect(world.database_url, name="test", pool_size=20)
    twin = world.ingest.twin("twin")
    await begun(database)
    first = await asyncio.to_thread(world.wait_holder, lambda holder: holder is not None)
    twin.start()
    try:
        await asyncio.to_thread(twin.wait_serving)
        async with consuming(world.rabbitmq.url, Backend()) as backend:
            writers = asyncio.gather(*(write(database, 40) for _ in range(10)))
            async with asyncio.timeout(WAIT_SECONDS), backend.arrived:
                await backend.arrived.wait_for(lambda: len(backend.messages) > 100)
            world.ingest.stop()
            second = await asyncio.to_thread(world.wait_holder, lambda holder: holder not in {None, first})
            await writers
            events = await backend.has(await log_of(database))
    finally:
        twin.stop()
    assert second is not None
    assert_in_order(events)
    await database.aclose()


async def test_the_example_prints_what_it_bound(database: Database, database_url: str, amqp_url: str) -> None:
    command = [sys.executable, str(EXAMPLE), f"example-{uuid4()}", "image.cancelled"]
    environment = base_env() | {"EVENTS_AMQP_URL": amqp_url}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert (await process.stderr.readline()).startswith(b"Consuming example-")
    async with publishing(database_url, amqp_url):
        await begun(database)
        await write(database, 2)
        lines = [(await asyncio.wait_for(process.stdout.readline(), WAIT_SECONDS)).decode() for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert [line.split()[1] for line in lines] == ["image.cancelled"] * 2
    assert os.linesep.join(lines).count("Cancelled") == 2
