"""A way to the database on which the answers of chosen statements get lost after the server has committed them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"
"""The end of every answer outside a transaction (PostgreSQL's protocol 3, message ReadyForQuery, idle)."""
CHUNK_BYTES = 64 * 1024


class LossyProxy:
    """Forwards bytes between services and Postgres; a statement that names a doomed function gets no answer."""

    def __init__(self, database_url: str) -> None:
        self._target = urlsplit(database_url)
        self._doomed: Counter[str] = Counter()
        self._changed = threading.Condition()
        self.url = ""

    def lose(self, functions: dict[str, int]) -> None:
        """Lose so many answers of each of these functions."""
        with self._changed:
            self._doomed = Counter(functions)

    def wait_lost(self, seconds: float) -> dict[str, int]:
        """Wait until every answer that should be lost was lost; answers what is left after the time."""
        with self._changed:
            self._changed.wait_for(lambda: not +self._doomed, seconds)
            return dict(+self._doomed)

    def _dooms(self, sent: bytes) -> bool:
        with self._changed:
            for function, left in self._doomed.items():
                if left > 0 and f".{function}(".encode() in sent:
                    self._doomed[function] -= 1
                    self._changed.notify_all()
                    return True
        return False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a service."""
        try:
            server_reader, server_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.close()
            return
        doomed = asyncio.Event()
        ways = [
            asyncio.create_task(self._forward_requests(reader, server_writer, doomed)),
            asyncio.create_task(_forward_answers(server_reader, writer, doomed)),
        ]
        with suppress(asyncio.CancelledError):  # the proxy closes
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        server_writer.close()

    async def _forward_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self._dooms(data):
                doomed.set()
            writer.write(data)
            await writer.drain()


async def _forward_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
    """Ends, and with it the connection, when a doomed answer is complete: by then the transaction is committed."""
    while data := await reader.read(CHUNK_BYTES):
        if doomed.is_set():
            if data.endswith(READY_FOR_QUERY):
                return
            continue
        writer.write(data)
        await writer.drain()


@contextmanager
def lossy_proxy(database_url: str) -> Iterator[LossyProxy]:
    """A proxy in a thread of its own, on a free port of loopback."""
    proxy = LossyProxy(database_url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lossy-proxy")
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(proxy.serve, "127.0.0.1", 0), loop).result()
    port = server.sockets[0].getsockname()[1]
    target = urlsplit(database_url)
    proxy.url = urlunsplit(target._replace(netloc=f"{target.username}@127.0.0.1:{port}"))
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
