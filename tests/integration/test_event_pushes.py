"""Events over RabbitMQ: at least once, in order within each job, no gap, whatever is killed or restarted meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import psycopg
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError
from google.protobuf.json_format import Parse

from devstack.postgres import Postgres
from devstack.rabbitmq import RabbitMQ
from services.ingest.publish import EventPublisher
from superstoryboard.broker.events import EVENTS_EXCHANGE, EventExchange, EventsBrokerError
from superstoryboard.jobs.database import Database
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.feeds import EventFeedPosition
from superstoryboard.queue.wakeups import EVENTS_CHANNEL, Wakeups
from superstoryboard.telemetry.feed_metrics import FeedMetrics
from superstoryboard.telemetry.metrics import DependencyMetrics
from superstoryboard.v1.job_pb2 import JobEvent
from tests.conftest import TEMPLATE, admin
from tests.emulators.google_fixture import wait_for
from tests.integration.helpers import accept, claim_one, image_queue
from tests.running import Service, base_env

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "consume_events.py"
WRITERS = 50
JOBS_EACH = 4
WAIT_SECONDS = 60.0
TRY_SECONDS = 3.0

pytestmark = pytest.mark.timeout(300)


@dataclass
class Backend:
    """A consumer that keeps all it was sent."""

    kind: str = "quorum"
    name: str = field(default_factory=lambda: f"backend-{uuid4()}")
    messages: list[AbstractIncomingMessage] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def declare(self, channel: aio_pika.abc.AbstractChannel, key: str = "#") -> aio_pika.abc.AbstractQueue:
        exchange = await channel.declare_exchange(EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(self.name, durable=True, arguments={"x-queue-type": self.kind})
        await queue.bind(exchange, routing_key=key)
        return queue

    async def consume(self, channel: aio_pika.abc.AbstractChannel, key: str = "#") -> None:
        await (await self.declare(channel, key)).consume(self._receive, no_ack=True)

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        async with self.arrived:
            self.messages.append(message)
            self.arrived.notify_all()

    @property
    def events(self) -> list[JobEvent]:
        return [Parse(message.body, JobEvent()) for message in self.messages]

    async def has(self, wanted: set[int]) -> list[JobEvent]:
        """All events, once every one of these sequences came."""

        def complete() -> bool:
            return wanted <= {int(message.message_id or 0) for message in self.messages}

        async with asyncio.timeout(WAIT_SECONDS), self.arrived:
            await self.arrived.wait_for(complete)
        return self.events


def assert_in_order(events: list[JobEvent]) -> None:
    """Within each job every event comes for the first time after those before it."""
    seen: set[int] = set()
    last: dict[str, int] = {}
    for event in events:
        if event.sequence not in seen:
            assert event.sequence > last.get(event.job_id, 0)
            seen.add(event.sequence)
            last[event.job_id] = event.sequence


@asynccontextmanager
async def consuming(url: str, backend: Backend, key: str = "#") -> AsyncIterator[Backend]:
    opened: list[aio_pika.abc.AbstractConnection] = []

    async def open_one() -> list[aio_pika.abc.AbstractConnection]:
        connection = await aio_pika.connect(url, timeout=10)
        try:  # a quorum queue refuses, or does not answer, for a moment after a restart
            async with asyncio.timeout(TRY_SECONDS):
                await backend.consume(await connection.channel(), key)
        except (AMQPError, TimeoutError):
            await connection.close()
            return []
        opened.append(connection)
        return opened

    await eventually(open_one)
    yield backend
    for connection in opened:
        await connection.close()


@asynccontextmanager
async def publishing(database_url: str, amqp_url: str, lease_seconds: float = 10) -> AsyncIterator[EventFeed]:
    """A publisher as ingest runs it; its feed is that of watchers too."""
    database = await Database.connect(database_url, name="publisher")
    wakeups = Wakeups(database_url, EVENTS_CHANNEL)
    feed = EventFeed(database, wakeups)
    publisher = EventPublisher(
        EventFeedPosition(database, "test", lease_seconds),
        feed,
        EventExchange(amqp_url, "test"),
        seen=DependencyMetrics().of("broker"),
        metrics=FeedMetrics(),
    )
    tasks = [asyncio.create_task(duty) for duty in (wakeups.run(), feed.run(), publisher.run())]
    yield feed
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await publisher.aclose()
    await database.aclose()


async def begun(database: Database) -> None:
    """Wait until the feed has its row: what happens from now on is published."""
    looks = "select name from superstoryboard.event_feeds where holder is not null"
    await eventually(lambda: database.fetch(looks))


async def eventually(look: Callable[[], Awaitable[list[Any]]]) -> None:
    """Look again and again until there is something."""
    async with asyncio.timeout(WAIT_SECONDS):
        found: list[Any] = []
        while not found:
            found = await look()
            await asyncio.sleep(0.02)


async def write(database: Database, jobs: int) -> None:
    """Jobs that each get several events: accepted, then cancelled by its owner."""
    for _ in range(jobs):
        job_id = await accept(database)
        await database.fetch("select superstoryboard.cancel_job_v1(%(id)s, null, 'alice')", {"id": job_id})


async def log_of(database: Database) -> set[int]:
    rows = await database.fetch("select sequence from superstoryboard.job_events")
    return {row["sequence"] for row in rows}


async def test_fifty_writers_leave_no_gap_and_no_disorder(database: Database, database_url: str, amqp_url: str) -> None:
    await accept(database)  # before the feed: never published
    async with consuming(amqp_url, Backend()) as backend, publishing(database_url, amqp_url):
        await begun(database)
        before = await log_of(database)
        await asyncio.gather(*(write(database, JOBS_EACH) for _ in range(WRITERS)))
        wanted = await log_of(database) - before
        assert len(wanted) == WRITERS * JOBS_EACH * 2
        events = await backend.has(wanted)
    assert {event.sequence for event in events} == wanted
    assert len(events) == len(wanted), "nothing failed, so nothing came twice"
    assert_in_order(events)


async def test_a_message_says_what_it_is(database: Database, database_url: str, amqp_url: str) -> None:
    async with consuming(amqp_url, Backend()) as backend, publishing(database_url, amqp_url):
        await begun(database)
        job_id = await accept(database)
        await claim_one(image_queue(database))
        await backend.has(await log_of(database))
    accepted, claimed = backend.messages
    assert (accepted.routing_key, claimed.routing_key) == ("image.queued", "image.running")
    assert accepted.content_type == "application/json"
    assert accepted.type == "superstoryboard.v1.JobEvent"
    assert accepted.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert accepted.headers == {"kind": "image", "owner": "alice", "storyboard_id": "board"}
    event = backend.events[0]
    assert (accepted.message_id, event.job_id, event.message) == (str(event.sequence), str(job_id), "Accepted")


async def test_an_event_that_commits_late_is_waited_for(database: Database, database_url: str, amqp_url: str) -> None:
    job_id = await accept(database)
    emit = "select superstoryboard.emit_event(j, 'slow') from superstoryboard.jobs j where id = %s"
    async with consuming(amqp_url, Backend()) as backend, publishing(database_url, amqp_url):
        await begun(database)
        before = await log_of(database)
        async with await psycopg.AsyncConnection.connect(database_url) as slow:
            await slow.execute(emit, (job_id,))
            await accept(database)
            await slow.commit()
        await backend.has(await log_of(database) - before)
    assert [event.message for event in backend.events] == ["slow", "Accepted"]


async def watchers_go_on(database: Database, feed: EventFeed) -> None:
    """Wait until watchers were given what happens beside a transaction that stays open, time and again."""
    for _ in range(5):
        await accept(database)
        assert await feed.wait_past(max(await log_of(database)) - 1, WAIT_SECONDS) is not None


async def test_a_transaction_that_watchers_do_not_wait_for_is_waited_for(
    database: Database, database_url: str, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a client which has sent a message: its event is pushed whenever it commits."""
    monkeypatch.setattr("superstoryboard.jobs.event_feed.GAP_LIMIT_SECONDS", 0.2)
    async with consuming(amqp_url, Backend()) as backend, publishing(database_url, amqp_url) as feed:
        await begun(database)
        async with await psycopg.AsyncConnection.connect(database_url) as open_long:
            await open_long.execute("select pgmq.send('image_generation_queue', '{}')")
            await watchers_go_on(database, feed)
            await open_long.commit()
        await backend.has(await log_of(database))
    assert [event.message for event in backend.events] == ["Adopted from the queue", *["Accepted"] * 5]


async def test_the_broker_admits_one_publisher(amqp_url: str) -> None:
    first, second = EventExchange(amqp_url, "first"), EventExchange(amqp_url, "second")
    await first.open()
    with pytest.raises(EventsBrokerError, match="ChannelLockedResource"):
        await second.open()
    assert first.is_open
    await first.aclose()
    await second.open()
    await second.aclose()


async def test_a_lost_lease_stops_the_holder_and_its_confirmed_events_count(database: Database) -> None:
    first, second = (EventFeedPosition(database, "test", lease) for lease in (0.0, 60.0))
    standing = await first.hold(7)
    assert (standing.held, standing.last_sequence) == (True, 7)
    standing = await second.hold(99)
    assert (standing.held, standing.last_sequence) == (True, 7), "a feed that is there keeps its position"
    assert not (await first.hold(7)).held
    assert not await first.advance(9)
    assert await second.advance(8), "never back"
    assert (await second.hold(0)).last_sequence == 9
    await first.release()
    assert not (await first.hold(0)).held, "only who holds it can release it"
    await second.release()
    assert (await first.hold(0)).held


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

    def wait_holder(self, wanted: Callable[[UUID | None], bool]) -> UUID | None:
        return wait_for(lambda: {"holder": self.holder()}, lambda found: wanted(found["holder"]))["holder"]  # type: ignore[no-any-return]


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
    await asyncio.to_thread(wait_for, lambda: _moved(world), lambda found: found["position"] > min(before, default=0))
    world.ingest.kill()
    world.ingest.start()
    await asyncio.to_thread(world.rabbitmq.stop, number)
    await asyncio.to_thread(world.rabbitmq.start)
    await writers
    await write(database, 1)
    wanted = await log_of(database) - before
    async with consuming(world.rabbitmq.url, backend):
        events = await backend.has(wanted)
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
