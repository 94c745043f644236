"""Takes events of jobs from RabbitMQ and prints them, each once and in the order of its job.

    pip install aio-pika
    EVENTS_AMQP_URL=amqp://… python consume_events.py my-backend 'image.*' video.succeeded

The queue is durable: what happens while this program is down waits in it. Events are published at least once, so one
may come again; a job's events come in order, so what is not above the last sequence of its job was seen before.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

EXCHANGE = "superstoryboard.events"


class Backend:
    """What your own backend would do. A real one keeps the last sequences in its database, with what it did."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def handle(self, message: AbstractIncomingMessage) -> None:
        """Take one event: the proto3 JSON of JobEvent, in which a 64-bit number is a string."""
        event = json.loads(message.body)
        job_id, sequence = event["jobId"], int(event["sequence"])
        if sequence <= self._last.get(job_id, 0):
            return
        self._last[job_id] = sequence
        sys.stdout.write(f"{sequence} {message.routing_key} {job_id} {event.get('message', '')}\n")
        sys.stdout.flush()


async def consume(url: str, name: str, keys: list[str]) -> None:
    """Consume until SIGTERM or SIGINT; the connection heals itself."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    backend = Backend()
    async with await aio_pika.connect_robust(url, timeout=10) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
        for key in keys:
            await queue.bind(exchange, routing_key=key)

        async def receive(message: AbstractIncomingMessage) -> None:
            async with message.process(requeue=True):  # acks once it is handled; comes again where that raises
                backend.handle(message)

        await queue.consume(receive)
        sys.stderr.write(f"Consuming {name}\n")
        sys.stderr.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(consume(os.environ["EVENTS_AMQP_URL"], sys.argv[1], sys.argv[2:] or ["#"]))
