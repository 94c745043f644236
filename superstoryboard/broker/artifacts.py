"""ArtifactReady over RabbitMQ: the fast way to the asset_writer. Losing or doubling a message does no harm."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
)
from aio_pika.exceptions import AMQPError
from google.protobuf.message import DecodeError

from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import Dependency, DependencyMetrics
from superstoryboard.v1.artifact_pb2 import ArtifactReady

EXCHANGE = "superstoryboard.artifacts"
READY_QUEUE = "superstoryboard.artifacts.ready"
DEAD_EXCHANGE = "superstoryboard.artifacts.dead"
DEAD_QUEUE = "superstoryboard.artifacts.dead"
DELIVERY_LIMIT = 5
DEAD_ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum"}
READY_ARGUMENTS = DEAD_ARGUMENTS | {"x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": DEAD_EXCHANGE}
OPERATION_TIMEOUT_SECONDS = 5.0
RECONNECT_SECONDS = 1.0

FAULTS = (AMQPError, OSError, TimeoutError, RuntimeError)
"""What aio-pika raises when the broker is away, its channel closed or its state torn."""

log = get_logger("broker")

Handler = Callable[[ArtifactReady], Awaitable[None]]


def fault_kind(error: BaseException) -> str:
    """What a log line says of a fault: the refusal of a certificate by its name, not as any lost connection."""
    return type(error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error).__name__


class Broker:
    """One connection of a process; opened in the background, opened again whole after each loss.

    The library's own recovery mends channel by channel and is silent; here connection, channel, queues and consumers
    live and end together.
    """

    def __init__(self, url: str, name: str, seen: Dependency | None = None) -> None:
        self._url = url
        self._name = name
        self._seen = seen or DependencyMetrics().of("broker")
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        """True while a publish or delivery can pass."""
        return self._exchange is not None and not self._lost.is_set()

    async def stay_connected(self, prefetch: int = 1, handle: Handler | None = None) -> None:
        """Be connected until cancelled, and hand each delivery to `handle`, where there is one."""
        while True:
            await self.connect(prefetch)
            try:
                if handle is not None:
                    await self.consume(handle)
            except FAULTS as error:
                log.info("RabbitMQ disconnected while the consumer started", kind=type(error).__name__)
            else:
                await self._lost.wait()
                log.info("The connection to RabbitMQ was lost")
            self._seen.away()
            await self.aclose()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def connect(self, prefetch: int = 1) -> None:
        """Connect and declare the topology, trying until it works or the task is cancelled."""
        warned = False
        await self.aclose()
        while True:
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS * 2):
                    await self._open(prefetch)
            except FAULTS as error:
                if not warned:
                    log.warning("RabbitMQ is unavailable; retrying", kind=fault_kind(error))
                    warned = True
                    self._seen.away()
                await self.aclose()
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                log.info("Connected to RabbitMQ")
                self._seen.back()
                return

    async def _open(self, prefetch: int) -> None:
        lost = self._lost = asyncio.Event()

        def lose(*_: Any) -> None:
            lost.set()

        self._connection = await aio_pika.connect(
            self._url, timeout=OPERATION_TIMEOUT_SECONDS, client_properties={"connection_name": self._name}
        )
        self._connection.close_callbacks.add(lose)
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(lose)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lose)  # the broker ends consumers of a queue that is deleted
        await channel.set_qos(prefetch_count=prefetch)
        self._exchange = await _declare(channel)
        self._channel = channel

    async def publish(self, ready: ArtifactReady) -> bool:
        """Publish with confirm. False where the broker is away: the row in Postgres will be found without it."""
        if self._exchange is None or not self.connected:
            log.info("ArtifactReady was not published; the asset_writer polls for the artifact", kind="NOT_CONNECTED")
            return False
        message = aio_pika.Message(
            ready.SerializeToString(),
            content_type="application/x-protobuf",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=ready.artifact_id,
        )
        try:
            await self._exchange.publish(
                message, routing_key=READY_QUEUE, mandatory=True, timeout=OPERATION_TIMEOUT_SECONDS
            )
        except FAULTS as error:
            log.info(
                "ArtifactReady was not published; the asset_writer polls for the artifact", kind=type(error).__name__
            )
            return False
        return True

    async def consume(self, handle: Handler) -> None:
        """Hand each delivery to `handle`, which never raises for a delivery that is merely out of date."""
        if self._channel is None:
            raise RuntimeError("connect first")
        ready = await self._channel.get_queue(READY_QUEUE)
        dead = await self._channel.get_queue(DEAD_QUEUE)

        async def receive(message: AbstractIncomingMessage) -> None:
            await _receive(message, handle)

        async def bury(message: AbstractIncomingMessage) -> None:
            await _bury(message, handle)

        await ready.consume(receive, timeout=OPERATION_TIMEOUT_SECONDS)
        await dead.consume(bury, timeout=OPERATION_TIMEOUT_SECONDS)

    async def aclose(self) -> None:
        """Close the connection; unacked deliveries come back to somebody else."""
        connection, self._connection, self._channel, self._exchange = self._connection, None, None, None
        if connection is not None:
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                    await connection.close()
            except FAULTS as error:
                log.info("The broker connection was already closed", kind=type(error).__name__)


async def _declare(channel: AbstractChannel) -> AbstractExchange:
    exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
    dead_exchange = await channel.declare_exchange(DEAD_EXCHANGE, aio_pika.ExchangeType.FANOUT, durable=True)
    dead = await channel.declare_queue(DEAD_QUEUE, durable=True, arguments=DEAD_ARGUMENTS)
    await dead.bind(dead_exchange)
    ready = await channel.declare_queue(READY_QUEUE, durable=True, arguments=READY_ARGUMENTS)
    await ready.bind(exchange, routing_key=READY_QUEUE)
    return exchange


async def _receive(message: AbstractIncomingMessage, handle: Handler) -> None:
    """Ack what was handled; give back what failed, up to the delivery limit; refuse what cannot be read."""
    try:
        ready = ArtifactReady.FromString(message.body)
    except DecodeError:
        await _answer(message.reject(requeue=False))
        return
    try:
        await handle(ready)
    except Exception as error:  # noqa: BLE001 - a failed delivery goes back, whatever failed
        log.warning("A delivery failed and is redelivered", artifact_id=ready.artifact_id, kind=type(error).__name__)
        await _answer(message.nack(requeue=True))
    else:
        await _answer(message.ack())


async def _bury(message: AbstractIncomingMessage, handle: Handler) -> None:
    """Dead letters are hints too: try once more, log, and let the row's poll do the rest."""
    try:
        ready = ArtifactReady.FromString(message.body)
        log.warning("A dead-lettered delivery is tried once more", artifact_id=ready.artifact_id)
        await handle(ready)
    except Exception as error:  # noqa: BLE001 - the artifact row stays and is polled
        log.warning("A dead-lettered delivery is dropped", message_id=message.message_id, kind=type(error).__name__)
    await _answer(message.ack())


async def _answer(answer: Any) -> None:
    """Answer a delivery within a time: tags die with their channel, and the broker then delivers again."""
    try:
        async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
            await answer
    except FAULTS as error:
        log.info("A delivery could not be acknowledged and will be redelivered", kind=type(error).__name__)
