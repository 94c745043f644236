"""The private Postgres and the private RabbitMQ: they start, stop, die and come back with what they held."""

import asyncio
import os
import signal
from pathlib import Path

import aio_pika
import psutil
import psycopg
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from devstack.stack.ports import is_free
from devstack.stack.postgres import Postgres, StopMode
from devstack.stack.program import StartError
from devstack.stack.rabbitmq import RabbitMQ, RabbitMQMissingError, ensure_rabbitmq, locate


def write(server: Postgres, value: str) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("create table if not exists kept (value text)")
        connection.execute("insert into kept values (%s)", (value,))


def read(server: Postgres) -> list[str]:
    with psycopg.connect(server.url) as connection:
        return [row[0] for row in connection.execute("select value from kept order by value")]


def test_postgres_keeps_its_data_and_its_port_over_every_way_to_stop(servers: Path) -> None:
    with Postgres(servers / "postgres") as server:
        url = server.url
        for mode in StopMode:
            write(server, mode.name)
            pid = server.pid
            server.stop(mode)
            assert server.pid is None
            assert is_free(server.port)
            server.start()
            assert server.url == url
            assert server.pid != pid
        assert read(server) == ["FAST", "IMMEDIATE", "KILL"]


def test_postgres_recovers_a_folder_whose_server_was_killed_from_outside(servers: Path) -> None:
    first = Postgres(servers / "postgres").start()
    write(first, "before the kill")
    assert first.pid is not None
    process = psutil.Process(first.pid)
    family = process.children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    first.stop()
    psutil.wait_procs(family, timeout=60)
    with Postgres(servers / "postgres") as second:
        assert read(second) == ["before the kill"]


def test_postgres_sees_through_a_lock_that_names_another_program(servers: Path) -> None:
    with Postgres(servers / "postgres") as server:
        write(server, "kept")
    lock = servers / "postgres" / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n")
    with Postgres(servers / "postgres") as server:
        assert read(server) == ["kept"]


def test_postgres_is_durable_unless_told_otherwise(servers: Path) -> None:
    with Postgres(servers / "postgres") as server, psycopg.connect(server.url) as connection:
        row = connection.execute("select current_setting('fsync'), current_setting('full_page_writes')").fetchone()
        assert row == ("on", "on")


def test_postgres_says_why_it_does_not_start(servers: Path) -> None:
    server = Postgres(servers / "postgres", settings={"no_such_setting": "1"})
    with pytest.raises(StartError, match="no_such_setting"):
        server.start()
    assert server.pid is None


async def test_rabbitmq_keeps_messages_over_a_kill_and_leaves_no_process(
    servers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMQP_URL", raising=False)
    if locate() is None:
        with ensure_rabbitmq(servers / "first"):
            pass  # installs it
    node = RabbitMQ(servers / "node").start()
    try:
        await publish(node.url, b"first")
        node.stop()
        assert is_free(node.port)
        # A quorum queue is only safe from a kill once RabbitMQ has written its own files, as the stop above made it do.
        node.start()
        assert await receive(node.url) == b"first"
        await publish(node.url, b"kept")
        node.stop(signal.SIGKILL)
        node.start()
        assert await receive(node.url) == b"kept"
        assert node.pid is not None
        family = psutil.Process(node.pid).children(recursive=True)
    finally:
        node.stop()
    assert family
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert is_free(node.port)


def test_a_given_broker_is_used_as_it_is(servers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://elsewhere:5672/")
    with ensure_rabbitmq(servers) as url:
        assert url == "amqp://elsewhere:5672/"
    assert not list(servers.iterdir())


def test_a_missing_broker_is_a_clear_error(servers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(servers))
    monkeypatch.delenv("AMQP_URL", raising=False)
    with pytest.raises(RabbitMQMissingError, match="set AMQP_URL, or install"):
        ensure_rabbitmq(servers).__enter__()


async def publish(url: str, body: bytes) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await declare(channel)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, "kept")


async def receive(url: str) -> bytes:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        await (await declare(channel)).consume(arrived.put)
        message = await asyncio.wait_for(arrived.get(), timeout=60)
        await message.ack()
        return message.body


async def declare(channel: AbstractChannel) -> AbstractQueue:
    return await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
