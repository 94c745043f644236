"""Events of jobs to the topic exchange `superstoryboard.events`, for backends that want them pushed.

Two processes that publish would mix up the order, and a lease of the database cannot stop what already waits in a
socket. So the broker itself admits one: the publishing connection holds an exclusive queue, and nobody else gets that
before everything the connection has sent is in or gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange

from superstoryboard.broker.artifacts import FAULTS, OPERATION_TIMEOUT_SECONDS, fault_kind
from superstoryboard.telemetry.logs import get_logger

EVENTS_EXCHANGE = "superstoryboard.events"
PUBLISHER_QUEUE = "superstoryboard.events.publisher"
EVENT_TYPE = "superstoryboard.v1.JobEvent"

log = get_logger("events-broker")


class EventsBrokerError(Exception):
    """The broker did not take events: it is away, refuses us, or another connection still publishes."""


@dataclass(frozen=True)
class OutgoingEvent:
    """One event as it goes out: `body` is the proto3 JSON of a JobEvent."""

    sequence: int
    job_id: str
    routing_key: str
    body: bytes
    created_at: datetime
    headers: dict[str, str]

    def message(self) -> aio_pika.Message:
        """Persistent; the message id is the sequence, by which a consumer knows what it had."""
        return aio_pika.Message(
            self.body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=str(self.sequence),
            timestamp=self.created_at,
            type=EVENT_TYPE,
            app_id="superstoryboard",
            headers=dict(self.headers),
        )


class EventExchange:
    """The exchange, through one connection that is opened and closed as a whole."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None
        self._lost = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """True while this is the connection that may publish."""
        return self._exchange is not None and not self._lost.is_set()

    async def open(self) -> None:
        """Connect, become the one publisher, and declare the exchange.

        Raises:
            EventsBrokerError: the broker is away or refuses, or another connection still publishes.
        """
        await self.aclose()
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS * 2):
                await self._open()
        except FAULTS as error:
            await self.aclose()
            raise EventsBrokerError(fault_kind(error)) from error

    async def _open(self) -> None:
        lost = self._lost = asyncio.Event()

        def lose(*_: Any) -> None:
            lost.set()

        self._connection = await aio_pika.connect(
            self._url, timeout=OPERATION_TIMEOUT_SECONDS, client_properties={"connection_name": self._name}
        )
        self._connection.close_callbacks.add(lose)
        channel = await self._connection.channel(publisher_confirms=True)
        channel.close_callbacks.add(lose)
        await channel.declare_queue(PUBLISHER_QUEUE, exclusive=True, auto_delete=True)
        self._exchange = await channel.declare_exchange(EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)

    async def publish(self, events: Sequence[OutgoingEvent]) -> None:
        """Publish events and wait until the broker has confirmed all; those of one job go one after the other.

        Raises:
            EventsBrokerError: at least one was not confirmed. What followed it in its job was not sent. The connection
                is closed, so that nothing of it arrives after what is published next.
        """
        jobs: dict[str, list[OutgoingEvent]] = {}
        for event in events:
            jobs.setdefault(event.job_id, []).append(event)
        results = await asyncio.gather(*map(self._publish_in_order, jobs.values()), return_exceptions=True)
        failures = [result for result in results if result is not None]
        if not failures:
            return
        await self.aclose()
        for failure in failures:
            if not isinstance(failure, FAULTS):
                raise failure
        raise EventsBrokerError(fault_kind(failures[0])) from failures[0]

    async def _publish_in_order(self, events: Iterable[OutgoingEvent]) -> None:
        for event in events:
            if self._exchange is None or not self.is_open:
                raise ConnectionError("not connected")
            await self._exchange.publish(
                event.message(), routing_key=event.routing_key, mandatory=False, timeout=OPERATION_TIMEOUT_SECONDS
            )

    async def aclose(self) -> None:
        """Close the connection."""
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None:
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                    await connection.close()
            except FAULTS as error:
                log.info("The broker connection was already closed", kind=type(error).__name__)
