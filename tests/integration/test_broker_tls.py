"""RabbitMQ over TLS (`amqps://`): the certificate is checked, and a wrong one is refused and named in the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from devstack.stack.certificates import Authority
from devstack.stack.ports import LOOPBACK, free_port
from devstack.stack.rabbitmq import RabbitMQ, locate
from superstoryboard.broker.artifacts import Broker
from superstoryboard.broker.events import EventExchange, EventsBrokerError
from superstoryboard.v1.artifact_pb2 import ArtifactReady
from tests.logs import awaited_logs

CONFIG = """\
listeners.ssl.1 = {host}:{port}
ssl_options.cacertfile = {authority}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
"""
READY = ArtifactReady(artifact_id="a-1")
AWAY = "RabbitMQ is unavailable; retrying"
REFUSED = "SSLCertVerificationError"

pytestmark = pytest.mark.timeout(300)


@dataclass
class Node:
    """A node that speaks TLS, and who vouches for it."""

    port: int
    authority: Authority
    stranger: Authority

    def url(self, trusted: Authority, host: str = LOOPBACK) -> str:
        return f"amqps://guest:guest@{host}:{self.port}/?cafile={trusted.certificate}"


@pytest.fixture(scope="module")
def node(amqp_url: str) -> Iterator[Node]:
    del amqp_url  # which installs RabbitMQ where it is missing
    assert locate() is not None, "with AMQP_URL set, this test needs an installed rabbitmq-server too"
    with TemporaryDirectory(prefix="rabbitmq-tls-") as name:
        folder = Path(name)
        port = free_port()
        broker = Node(port, Authority(folder / "tls"), Authority(folder / "stranger"))
        certificate = broker.authority.issue("rabbitmq", LOOPBACK)
        config = CONFIG.format(
            host=LOOPBACK,
            port=port,
            authority=broker.authority.certificate,
            certificate=certificate.certificate,
            key=certificate.key,
        )
        with RabbitMQ(folder, config=config):
            yield broker


@pytest.fixture
async def broker(node: Node) -> AsyncIterator[Broker]:
    opened = Broker(node.url(node.authority), "test")
    await opened.connect()
    yield opened
    await opened.aclose()


async def test_artifacts_are_announced_over_tls(broker: Broker) -> None:
    received: asyncio.Queue[ArtifactReady] = asyncio.Queue()
    await broker.consume(received.put)
    assert await broker.publish(READY)
    assert await asyncio.wait_for(received.get(), 60) == READY


async def test_events_are_pushed_over_tls(node: Node) -> None:
    exchange = EventExchange(node.url(node.authority), "test")
    await exchange.open()
    await exchange.publish([])
    await exchange.aclose()


async def test_a_stranger_s_authority_is_refused_and_said(node: Node) -> None:
    with awaited_logs() as logs:
        connecting = asyncio.create_task(Broker(node.url(node.stranger), "test").connect())
        await logs.first()
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
    assert [(line["event"], line["kind"]) for line in logs.all] == [(AWAY, REFUSED)]
    with pytest.raises(EventsBrokerError, match=REFUSED):
        await EventExchange(node.url(node.stranger), "test").open()


async def test_a_certificate_for_another_name_is_refused(node: Node) -> None:
    with pytest.raises(EventsBrokerError, match=REFUSED):
        await EventExchange(node.url(node.authority, "localhost"), "test").open()
