"""Doctor against a real RabbitMQ: well, and with one thing broken each."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aio_pika
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devstack.stack.ports import free_port
from superstoryboard.broker.artifacts import DEAD_QUEUE, READY_QUEUE, Broker
from superstoryboard.inspection.broker import BrokerInspectionError, inspect_broker
from tests.doctor.fixture import Doctor, Examined

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A client of its own; our queues are away before and after."""
    async with await aio_pika.connect(amqp_url) as connection:
        await forget_queues(connection)
        yield await connection.channel()
        await forget_queues(connection)


async def forget_queues(connection: aio_pika.abc.AbstractConnection) -> None:
    channel = await connection.channel()
    for name in (READY_QUEUE, DEAD_QUEUE):
        await channel.queue_delete(name)


async def examine(doctor: Doctor) -> Examined:
    """The command has an event loop of its own, so it runs in a thread of its own."""
    return await asyncio.to_thread(doctor)


def queue_lines(result: Examined) -> list[str]:
    return [check["message"] for check in result.checks if check["name"] == "broker queue"]


async def test_a_good_broker_passes(doctor: Doctor, amqp_url: str, channel: aio_pika.abc.AbstractChannel) -> None:
    del channel
    declaring = Broker(amqp_url, "test")
    await declaring.connect()
    await declaring.aclose()
    doctor.set(AMQP_URL=amqp_url)
    result = await examine(doctor)
    assert (result.code, result.failed) == (0, [])
    assert "RabbitMQ " in result.sentence("broker")
    assert queue_lines(result) == [f"{READY_QUEUE}, 0 waiting", f"{DEAD_QUEUE}, 0 waiting"]


async def test_queues_that_nobody_declared_stay_undeclared(
    doctor: Doctor, amqp_url: str, channel: aio_pika.abc.AbstractChannel
) -> None:
    doctor.set(AMQP_URL=amqp_url)
    result = await examine(doctor)
    assert result.code == 0
    assert all("does not exist yet" in line for line in queue_lines(result))
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.declare_queue(READY_QUEUE, passive=True)


async def test_a_queue_of_another_type(doctor: Doctor, amqp_url: str, channel: aio_pika.abc.AbstractChannel) -> None:
    await channel.declare_queue(READY_QUEUE, durable=True)
    doctor.set(AMQP_URL=amqp_url)
    result = await examine(doctor)
    assert (result.code, result.failed) == (1, ["broker queue"])
    [broken] = [check for check in result.checks if check["state"] == "failed"]
    assert broken["message"] == f"{READY_QUEUE} has a different type or different arguments than the services declare"
    assert "Delete that queue in RabbitMQ" in broken["action"]


async def test_a_wrong_password_is_named_and_never_printed(doctor: Doctor, amqp_url: str) -> None:
    doctor.hide("wrong-password")
    doctor.set(AMQP_URL=f"amqp://guest:wrong-password@{amqp_url.rpartition('@')[2]}")
    result = await examine(doctor)
    assert result.code == 1
    assert result.sentence("broker").startswith("the user or password was rejected. Correct user and password")


async def test_a_virtual_host_that_is_not_there(doctor: Doctor, amqp_url: str) -> None:
    doctor.set(AMQP_URL=f"{amqp_url.rstrip('/')}/nowhere")
    assert "virtual host" in (await examine(doctor)).sentence("broker")


async def test_nobody_there_exits_3(doctor: Doctor) -> None:
    doctor.hide("some-password")
    doctor.set(AMQP_URL=f"amqp://someone:some-password@127.0.0.1:{free_port()}/")
    result = await examine(doctor)
    assert result.code == 3
    assert "Check host and port of AMQP_URL" in result.sentence("broker")


async def test_a_url_that_is_none(doctor: Doctor) -> None:
    doctor.set(AMQP_URL="guest-at-somewhere")
    result = await examine(doctor)
    assert (result.code, result.failed) in [(2, ["broker"]), (3, ["broker"])]
    assert "AMQP_URL" in result.sentence("broker")


async def test_tls_on_a_port_that_speaks_none(doctor: Doctor, amqp_url: str) -> None:
    doctor.set(AMQP_URL=amqp_url.replace("amqp://", "amqps://"))
    result = await examine(doctor)
    assert result.sentence("broker").startswith("the port does not speak TLS. Use amqps://")


async def test_a_certificate_that_nobody_vouches_for(doctor: Doctor, tmp_path: Path) -> None:
    async with await _tls_server(tmp_path) as server:
        port = server.sockets[0].getsockname()[1]
        doctor.set(AMQP_URL=f"amqps://guest:guest@localhost:{port}/")
        result = await examine(doctor)
    assert result.code == 1
    assert "the certificate of the broker is not trusted" in result.sentence("broker")
    assert "cafile" in result.sentence("broker")


async def _tls_server(folder: Path) -> asyncio.Server:
    """A port that speaks TLS with a certificate signed by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(folder))

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(pem))
    return file


async def test_a_broker_that_takes_too_long_to_tell_of_a_queue(
    amqp_url: str, channel: aio_pika.abc.AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    del channel
    async with inspect_broker(amqp_url) as inspection:
        monkeypatch.setattr("superstoryboard.inspection.broker.TIMEOUT_SECONDS", 0.0)
        with pytest.raises(BrokerInspectionError, match="RabbitMQ stopped responding"):
            await inspection.queue(READY_QUEUE)
