"""A consumer of pushed events, and steps of the tests about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError
from google.protobuf.json_format import Parse

from services.ingest.publish import EventPublisher
from superstoryboard.broker.events import EVENTS_EXCHANGE, EventExchange
from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, Wakeups
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.feeds import EventFeedPosition
from superstoryboard.telemetry.feed_metrics import FeedMetrics
from superstoryboard.telemetry.metrics import DependencyMetrics
from superstoryboard.v1.job_pb2 import JobEvent
from tests.integration.helpers import accept
from tests.waiting import awaited

WAIT_SECONDS = 60.0

TRY_SECONDS = 3.0


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

    async def has(self, expected: set[int]) -> list[JobEvent]:
        """All events, once every one of these sequences came."""

        def complete() -> bool:
            return expected <= {int(message.message_id or 0) for message in self.messages}

        async with asyncio.timeout(WAIT_SECONDS), self.arrived:
            await self.arrived.wait_for(complete)
        return self.events


def assert_in_order(events: list[JobEvent]) -> None:
    """Within each job every event comes for the first time after those before it."""
    earlier: set[int] = set()
    last: dict[str, int] = {}
    for event in events:
        if event.sequence not in earlier:
            assert event.sequence > last.get(event.job_id, 0)
            earlier.add(event.sequence)
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

    await awaited(open_one)
    yield backend
    for connection in opened:
        await connection.close()


@asynccontextmanager
async def publishing(
    database_url: str, amqp_url: str, lease_seconds: float = 10, metrics: FeedMetrics | None = None
) -> AsyncIterator[EventFeed]:
    """A publisher as ingest runs it; its feed is that of watchers too."""
    database = await Database.connect(database_url, name="publisher")
    wakeups = Wakeups(database_url, EVENTS_CHANNEL)
    feed = EventFeed(database, wakeups)
    publisher = EventPublisher(
        EventFeedPosition(database, "test", lease_seconds),
        feed,
        EventExchange(amqp_url, "test"),
        dependency=DependencyMetrics().of("broker"),
        metrics=metrics or FeedMetrics(),
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
    await awaited(lambda: database.fetch(looks))


async def write(database: Database, jobs: int) -> None:
    """Jobs that each get several events: accepted, then cancelled by its owner."""
    for _ in range(jobs):
        job_id = await accept(database)
        await database.fetch("select superstoryboard.cancel_job_v1(%(id)s, null, 'alice')", {"id": job_id})


async def log_of(database: Database) -> set[int]:
    rows = await database.fetch("select sequence from superstoryboard.job_events")
    return {row["sequence"] for row in rows}
