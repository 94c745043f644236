"""Connections to RabbitMQ that break at bad moments: nothing is lost and nothing hangs."""

from __future__ import annotations

import asyncio

import aio_pika
import pytest

from superstoryboard.broker import artifacts, connection
from superstoryboard.broker.artifacts import READY_QUEUE, Broker
from superstoryboard.v1.artifact_pb2 import ArtifactReady
from tests.integration.relay import relayed
from tests.logs import awaited_logs

READY = ArtifactReady(artifact_id="a-1", traceparent="00-t")

pytestmark = pytest.mark.timeout(300)


async def test_a_delivery_whose_channel_is_gone_comes_again(amqp_url: str) -> None:
    """Its handler has done its work, which does no harm a second time."""
    received: asyncio.Queue[ArtifactReady] = asyncio.Queue()
    broker = Broker(amqp_url, "test")
    await broker.connect()
    async with await aio_pika.connect(amqp_url) as other:
        channel = await other.channel()
        queue = await channel.get_queue(READY_QUEUE)
        await queue.purge()
        assert await broker.publish(READY)
        message = await queue.get(timeout=60)
        assert message is not None
        await channel.close()
        with awaited_logs() as lines:
            await artifacts._receive(message, received.put)
        assert "could not be acknowledged" in (await lines.first())["event"]
    await broker.consume(received.put)
    async with asyncio.timeout(60):
        assert [await received.get(), await received.get()] == [READY, READY]
    await broker.aclose()


async def test_closing_does_not_wait_for_a_broker_that_says_nothing(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relayed(amqp_url) as (relay, url):
        broker = Broker(url, "stopped")
        await broker.connect()
        monkeypatch.setattr(connection, "OPERATION_TIMEOUT_SECONDS", 0.2)
        relay.stop()
        with awaited_logs() as lines:
            await broker.aclose()
        assert (await lines.first())["event"] == "The broker connection was already closed"
        assert not broker.connected


async def test_a_consumer_that_cannot_start_is_started_again(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deletes the queue between its declaration and the consumer; the next connection declares it again."""
    monkeypatch.setattr(artifacts, "RECONNECT_SECONDS", 0.02)
    received = asyncio.get_running_loop().create_future()
    broker = Broker(amqp_url, "consumer")
    connect = broker.connect

    async def connect_and_lose(prefetch: int = 1) -> None:
        await connect(prefetch)
        monkeypatch.setattr(broker, "connect", connect)
        async with await aio_pika.connect(amqp_url) as other:
            await (await other.channel()).queue_delete(READY_QUEUE)

    async def handle(ready: ArtifactReady) -> None:
        received.set_result(ready)

    monkeypatch.setattr(broker, "connect", connect_and_lose)
    with awaited_logs() as lines:
        staying = asyncio.create_task(broker.stay_connected(1, handle))
        sender = Broker(amqp_url, "sender")
        async with asyncio.timeout(60):
            await lines.line("while the consumer started")
            await sender.connect()
            assert await sender.publish(READY)
            assert await received == READY
    staying.cancel()
    await sender.aclose()
    await broker.aclose()
