"""One connection to RabbitMQ with one channel and one exchange, which are opened and closed as a whole.

The library's own recovery mends channel by channel and is silent; here connection, channel, queues and consumers live
and end together.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError

from superstoryboard.telemetry.logs import get_logger

OPERATION_TIMEOUT_SECONDS = 5.0

FAULTS = (AMQPError, OSError, TimeoutError, RuntimeError)
"""What aio-pika raises when the broker is away, its channel closed or its state torn."""

log = get_logger("broker")

Declare = Callable[[AbstractChannel], Awaitable[AbstractExchange]]


def fault_kind(error: BaseException) -> str:
    """What a log line says of a fault: the refusal of a certificate by its name, not as any lost connection."""
    return type(error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error).__name__


class Connection:
    """At first it is closed. `declare` sets the channel up and returns the exchange that is published to."""

    def __init__(self, url: str, name: str, declare: Declare, *, returns: bool = False) -> None:
        self._url = url
        self._name = name
        self._declare = declare
        self._returns = returns
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._lost = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """True while a publish or a delivery can pass."""
        return self._exchange is not None and not self._lost.is_set()

    @property
    def channel(self) -> AbstractChannel:
        """The channel.

        Raises:
            RuntimeError: it was not opened, or is closed.
        """
        if self._channel is None:
            raise RuntimeError("not connected")
        return self._channel

    async def open(self) -> None:
        """Connect and declare; what was open before is closed.

        Raises:
            AMQPError, OSError, TimeoutError, RuntimeError: the broker is away or refuses; nothing is open.
        """
        await self.aclose()
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS * 2):
                await self._open()
        except FAULTS:
            await self.aclose()
            raise

    async def _open(self) -> None:
        lost = self._lost = asyncio.Event()

        def lose(*_: Any) -> None:
            lost.set()

        self._connection = await aio_pika.connect(
            self._url, timeout=OPERATION_TIMEOUT_SECONDS, client_properties={"connection_name": self._name}
        )
        self._connection.close_callbacks.add(lose)
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=self._returns)
        channel.close_callbacks.add(lose)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lose)  # the broker ends consumers of a queue that is deleted
        self._exchange = await self._declare(channel)
        self._channel = channel

    async def publish(self, message: aio_pika.Message, routing_key: str, *, mandatory: bool) -> None:
        """Publish and wait until the broker has confirmed; `mandatory`: a queue must take it.

        Raises:
            AMQPError, OSError, TimeoutError, RuntimeError: it is not confirmed, and may have arrived all the same.
        """
        if self._exchange is None or not self.is_open:
            raise ConnectionError("not connected")
        await self._exchange.publish(
            message, routing_key=routing_key, mandatory=mandatory, timeout=OPERATION_TIMEOUT_SECONDS
        )

    async def wait_lost(self) -> None:
        """Return once the connection, its channel or a consumer is gone."""
        await self._lost.wait()

    async def aclose(self) -> None:
        """Close; unacked deliveries come back to somebody else."""
        connection, self._connection, self._channel, self._exchange = self._connection, None, None, None
        if connection is not None:
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                    await connection.close()
            except FAULTS as error:
                log.info("The broker connection was already closed", kind=type(error).__name__)
