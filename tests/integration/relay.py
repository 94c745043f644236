"""A way to the broker that can be cut or stopped, while the broker itself is well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from yarl import URL


class Relay:
    """Passes bytes on, both ways."""

    def __init__(self, broker: URL) -> None:
        self._broker = broker
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self._passes.set()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        back, there = await asyncio.open_connection(self._broker.host, self._broker.port)
        self._writers += [writer, there]
        for source, target in ((reader, there), (back, writer)):
            task = asyncio.create_task(self._copy(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def cut(self) -> None:
        """End every connection as a network does that is gone."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def stop(self) -> None:
        """Pass nothing on any more; the connections stay."""
        self._passes.clear()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while block := await source.read(65_536):
                await self._passes.wait()
                target.write(block)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            target.close()

    async def aclose(self) -> None:
        """Leave nothing behind."""
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def relayed(amqp_url: str) -> AsyncIterator[tuple[Relay, str]]:
    """A relay, and the broker's URL by way of it."""
    relay = Relay(URL(amqp_url))
    server = await asyncio.start_server(relay.pass_on, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield relay, str(URL(amqp_url).with_host("127.0.0.1").with_port(port))
    finally:
        server.close()
        await relay.aclose()
