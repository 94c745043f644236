"""Looks at RabbitMQ without changing anything: what `storyboard doctor` asks of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from aiormq.exceptions import ChannelAccessRefused

from superstoryboard.broker.artifacts import DEAD_ARGUMENTS, DEAD_QUEUE, READY_ARGUMENTS, READY_QUEUE
from superstoryboard.broker.connection import FAULTS

TIMEOUT_SECONDS = 5.0
QUEUES: Mapping[str, Mapping[str, Any]] = {READY_QUEUE: READY_ARGUMENTS, DEAD_QUEUE: DEAD_ARGUMENTS}


class BrokerProblem(StrEnum):
    """Why the broker cannot be looked at."""

    URL = "URL"
    UNREACHABLE = "UNREACHABLE"
    PASSWORD = "PASSWORD"  # noqa: S105 - the name of a problem
    VHOST = "VHOST"
    CERTIFICATE = "CERTIFICATE"
    TLS = "TLS"


class BrokerInspectionError(Exception):
    """The broker cannot be looked at; the message holds neither address nor password."""

    def __init__(self, problem: BrokerProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class QueueState(StrEnum):
    """A queue against what we declare."""

    AS_DECLARED = "AS_DECLARED"
    MISSING = "MISSING"
    OTHER_ARGUMENTS = "OTHER_ARGUMENTS"
    NO_RIGHT = "NO_RIGHT"


@dataclass(frozen=True)
class QueueFacts:
    """One queue: how it is, and how many deliveries wait in it."""

    state: QueueState
    messages: int = 0


class BrokerInspection:
    """A connection that declares nothing new."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    @property
    def product(self) -> str:
        """Product and version as the server says them."""
        transport = self._connection.transport
        properties = transport.connection.server_properties if transport else {}
        return " ".join(_text(properties.get(name)) for name in ("product", "version")).strip() or "a broker"

    async def queue(self, name: str) -> QueueFacts:
        """A queue of ours. Declaring an existing queue again changes nothing, and fails where its arguments differ."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                messages = await self._messages(name)
                await self._declare_again(name)
        except ChannelNotFoundEntity:
            return QueueFacts(QueueState.MISSING)
        except ChannelPreconditionFailed:
            return QueueFacts(QueueState.OTHER_ARGUMENTS)
        except ChannelAccessRefused:
            return QueueFacts(QueueState.NO_RIGHT)
        except FAULTS as error:
            raise BrokerInspectionError(BrokerProblem.UNREACHABLE, "RabbitMQ stopped responding") from error
        return QueueFacts(QueueState.AS_DECLARED, messages)

    async def _messages(self, name: str) -> int:
        channel = await self._connection.channel()
        queue = await channel.declare_queue(name, passive=True)
        await channel.close()
        return queue.declaration_result.message_count or 0

    async def _declare_again(self, name: str) -> None:
        channel = await self._connection.channel()
        await channel.declare_queue(name, durable=True, arguments=dict(QUEUES[name]))
        await channel.close()


@asynccontextmanager
async def inspect_broker(url: str) -> AsyncIterator[BrokerInspection]:
    """A connection for looking, closed at the end.

    Raises:
        BrokerInspectionError: the broker cannot be reached or does not let us in.
    """
    connection = await _connect(url)
    try:
        yield BrokerInspection(connection)
    finally:
        await connection.close()


async def _connect(url: str) -> AbstractConnection:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS * 2):
            return await aio_pika.connect(
                url, timeout=TIMEOUT_SECONDS, client_properties={"connection_name": "storyboard-doctor"}
            )
    except (*FAULTS, ValueError, KeyError) as error:
        raise _problem(error) from None


def _problem(error: Exception) -> BrokerInspectionError:
    causes = list(_causes(error))
    words = " ".join(str(each) for each in causes).lower()
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in causes) or "certificate" in words:
        return BrokerInspectionError(BrokerProblem.CERTIFICATE, _certificate(causes))
    if any(isinstance(each, ssl.SSLError) for each in causes):
        return BrokerInspectionError(BrokerProblem.TLS, "the port does not speak TLS")
    if any(isinstance(each, AuthenticationError) for each in causes) or "access_refused" in words:
        return BrokerInspectionError(BrokerProblem.PASSWORD, "the user or password was rejected")
    if "openok" in words or "not_allowed" in words:  # the server closes where it should open the virtual host
        return BrokerInspectionError(
            BrokerProblem.VHOST, "the virtual host does not exist, or this user has no access to it"
        )
    if isinstance(error, ValueError | KeyError) and not isinstance(error, AMQPConnectionError):
        return BrokerInspectionError(BrokerProblem.URL, "it is not the URL of a broker")
    return BrokerInspectionError(BrokerProblem.UNREACHABLE, "RabbitMQ is not reachable")


def _certificate(causes: list[BaseException]) -> str:
    reasons = [each.verify_message for each in causes if isinstance(each, ssl.SSLCertVerificationError)]
    return f"the certificate of the broker is not trusted ({reasons[0] if reasons else 'it cannot be verified'})"


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
