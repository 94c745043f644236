"""ArtifactReady over RabbitMQ: the fast way to the asset_writer. Losing or doubling a message does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage
from google.protobuf.message import DecodeError

from superstoryboard.broker.connection import FAULTS, OPERATION_TIMEOUT_SECONDS, Connection, fault_kind
from superstoryboard.domain.traces import trace_fields
from superstoryboard.telemetry.logs import bound_contextvars, get_logger
from superstoryboard.telemetry.metrics import Dependency, DependencyMetrics
from superstoryboard.v1.artifact_pb2 import ArtifactReady

EXCHANGE = "superstoryboard.artifacts"
READY_QUEUE = "superstoryboard.artifacts.ready"
DEAD_EXCHANGE = "superstoryboard.artifacts.dead"
DEAD_QUEUE = "superstoryboard.artifacts.dead"
DELIVERY_LIMIT = 5
DEAD_ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum"}
READY_ARGUMENTS = DEAD_ARGUMENTS | {"x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": DEAD_EXCHANGE}
RECONNECT_SECONDS = 1.0

log = get_logger("broker")

Handler = Callable[[ArtifactReady], Awaitable[None]]


class Broker:
    """The artifacts' side of a process; its connection is opened in the background, and again whole after each loss."""

    def __init__(self, url: str, name: str, dependency: Dependency | None = None) -> None:
        self._dependency = dependency or DependencyMetrics().of("broker")
        self._prefetch = 1
        self._connection = Connection(url, name, self._declare, returns=True)

    @property
    def connected(self) -> bool:
        """True while a publish or delivery can pass."""
        return self._connection.is_open

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
                await self._connection.wait_lost()
                log.info("The connection to RabbitMQ was lost")
            self._dependency.away()
            await self.aclose()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def connect(self, prefetch: int = 1) -> None:
        """Connect and declare the topology, trying until it works or the task is cancelled."""
        self._prefetch = prefetch
        warned = False
        while True:
            try:
                await self._connection.open()
            except FAULTS as error:
                if not warned:
                    log.warning("RabbitMQ is unavailable; retrying", kind=fault_kind(error))
                    warned = True
                    self._dependency.away()
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                log.info("Connected to RabbitMQ")
                self._dependency.back()
                return

    async def _declare(self, channel: AbstractChannel) -> AbstractExchange:
        await channel.set_qos(prefetch_count=self._prefetch)
        return await _declare(channel)

    async def publish(self, ready: ArtifactReady) -> bool:
        """Publish with confirm. False where the broker is away: the row in Postgres will be found without it."""
        message = aio_pika.Message(
            ready.SerializeToString(),
            content_type="application/x-protobuf",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=ready.artifact_id,
        )
        try:
            await self._connection.publish(message, READY_QUEUE, mandatory=True)
        except FAULTS as error:
            log.info(
                "ArtifactReady was not published; the asset_writer polls for the artifact", kind=type(error).__name__
            )
            return False
        return True

    async def consume(self, handle: Handler) -> None:
        """Hand each delivery to `handle`, which never raises for a delivery that is merely out of date."""
        ready = await self._connection.channel.get_queue(READY_QUEUE)
        dead = await self._connection.channel.get_queue(DEAD_QUEUE)

        async def receive(message: AbstractIncomingMessage) -> None:
            await _receive(message, handle)

        async def bury(message: AbstractIncomingMessage) -> None:
            await _bury(message, handle)

        await ready.consume(receive, timeout=OPERATION_TIMEOUT_SECONDS)
        await dead.consume(bury, timeout=OPERATION_TIMEOUT_SECONDS)

    async def aclose(self) -> None:
        """Close the connection; unacked deliveries come back to somebody else."""
        await self._connection.aclose()


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
    with bound_contextvars(artifact_id=ready.artifact_id, **trace_fields(ready.traceparent)):
        try:
            await handle(ready)
        except Exception as error:  # noqa: BLE001 - a failed delivery goes back, whatever failed
            log.warning("A delivery failed and is redelivered", kind=type(error).__name__)
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
