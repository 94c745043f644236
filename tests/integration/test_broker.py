"""ArtifactReady over a real RabbitMQ: confirmed, delivered, given back, buried, consumed from the grave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aio_pika
import pytest

from superstoryboard.broker.artifacts import DEAD_QUEUE, DELIVERY_LIMIT, EXCHANGE, READY_QUEUE, Broker
from superstoryboard.v1.artifact_pb2 import ArtifactReady

READY = ArtifactReady(artifact_id="a-1", traceparent="00-t")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A client of its own, with our queues declared and empty."""
    declaring = Broker(amqp_url, "declare")
    await declaring.connect()
    await declaring.aclose()
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        opened = await connection.channel()
        for name in (READY_QUEUE, DEAD_QUEUE):
            await (await opened.get_queue(name)).purge()
        yield opened


@pytest.fixture
async def broker(amqp_url: str, channel: aio_pika.abc.AbstractChannel) -> AsyncIterator[Broker]:
    del channel
    opened = Broker(amqp_url, "test")
    await opened.connect(prefetch=10)
    yield opened
    await opened.aclose()


class Inbox:
    """Collects deliveries; answers as it is told."""

    def __init__(self, answer: Callable[[int], Awaitable[None]] | None = None) -> None:
        self.received: asyncio.Queue[ArtifactReady] = asyncio.Queue()
        self._answer = answer
        self._count = 0

    async def handle(self, ready: ArtifactReady) -> None:
        self._count += 1
        await self.received.put(ready)
        if self._answer is not None:
            await self._answer(self._count)

    async def next(self) -> ArtifactReady:
        return await asyncio.wait_for(self.received.get(), 60)


async def depth(channel: aio_pika.abc.AbstractChannel, name: str) -> int:
    queue = await channel.declare_queue(name, passive=True)
    return queue.declaration_result.message_count or 0


async def test_what_is_published_arrives_whole(broker: Broker) -> None:
    inbox = Inbox()
    await broker.consume(inbox.handle)
    assert await broker.publish(READY)
    assert await inbox.next() == READY


async def test_a_failed_delivery_comes_again(broker: Broker) -> None:
    async def fail_first(count: int) -> None:
        if count == 1:
            raise OSError("passing")

    inbox = Inbox(fail_first)
    await broker.consume(inbox.handle)
    await broker.publish(READY)
    assert [await inbox.next(), await inbox.next()] == [READY, READY]


async def test_a_delivery_that_always_fails_fills_the_dead_letters(
    broker: Broker, channel: aio_pika.abc.AbstractChannel
) -> None:
    await broker.publish(READY)
    queue = await channel.get_queue(READY_QUEUE)
    for _ in range(DELIVERY_LIMIT + 1):
        message = await queue.get(timeout=60)
        assert message is not None
        await message.nack(requeue=True)
    dead = await channel.get_queue(DEAD_QUEUE)
    buried = await _next(dead)
    assert ArtifactReady.FromString(buried.body) == READY
    await buried.ack()


async def test_dead_letters_are_consumed(broker: Broker) -> None:
    async def always(_: int) -> None:
        raise OSError("broken")

    inbox = Inbox(always)
    await broker.consume(inbox.handle)
    await broker.publish(READY)
    deliveries = [await inbox.next() for _ in range(DELIVERY_LIMIT + 2)]
    assert deliveries == [READY] * (DELIVERY_LIMIT + 2), "the last one came from the dead letters"


async def test_a_body_that_cannot_be_read_is_buried_and_stops_nobody(
    broker: Broker, channel: aio_pika.abc.AbstractChannel
) -> None:
    inbox = Inbox()
    await broker.consume(inbox.handle)
    exchange = await channel.get_exchange(EXCHANGE)
    await exchange.publish(aio_pika.Message(b"\xff\xff\xff"), routing_key=READY_QUEUE)
    await broker.publish(READY)
    assert await inbox.next() == READY


async def test_unacked_deliveries_of_a_lost_consumer_come_to_the_next(amqp_url: str, broker: Broker) -> None:
    stuck = asyncio.Event()

    async def hang(_: int) -> None:
        await stuck.wait()

    lost = Broker(amqp_url, "lost")
    await lost.connect(prefetch=1)
    held = Inbox(hang)
    await lost.consume(held.handle)
    await broker.publish(READY)
    await held.next()
    await lost.aclose()
    inbox = Inbox()
    await broker.consume(inbox.handle)
    assert await inbox.next() == READY
    stuck.set()


async def test_publishing_without_a_broker_says_no_and_does_not_wait() -> None:
    assert not await Broker("amqp://127.0.0.1:1/", "nobody").publish(READY)


async def _next(queue: aio_pika.abc.AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
    async with asyncio.timeout(60):
        async with queue.iterator() as messages:
            async for message in messages:
                return message
    raise AssertionError("the iterator ended")
