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

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange

from superstoryboard.broker.connection import FAULTS, Connection, fault_kind

EVENTS_EXCHANGE = "superstoryboard.events"
PUBLISHER_QUEUE = "superstoryboard.events.publisher"
EVENT_TYPE = "superstoryboard.v1.JobEvent"


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
    """The exchange, through the one connection that may publish."""

    def __init__(self, url: str, name: str) -> None:
        self._connection = Connection(url, name, _declare)

    @property
    def is_open(self) -> bool:
        """True while this is the connection that may publish."""
        return self._connection.is_open

    async def open(self) -> None:
        """Connect, become the one publisher, and declare the exchange.

        Raises:
            EventsBrokerError: the broker is away or refuses, or another connection still publishes.
        """
        try:
            await self._connection.open()
        except FAULTS as error:
            raise EventsBrokerError(fault_kind(error)) from error

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
            await self._connection.publish(event.message(), event.routing_key, mandatory=False)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()


async def _declare(channel: AbstractChannel) -> AbstractExchange:
    await channel.declare_queue(PUBLISHER_QUEUE, exclusive=True, auto_delete=True)
    return await channel.declare_exchange(EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
