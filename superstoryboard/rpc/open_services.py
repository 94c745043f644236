"""Health and reflection: open to everyone, so that what they hold of strangers' requests is limited.

gRPC keeps a request of up to 16 MiB in memory once it is asked to read it; these need a few bytes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

MAX_REQUEST_BYTES = 4096
READS_AT_ONCE = 4
READ_SECONDS = 2.0
"""Time for a request to be read, its turn included: when the crowd that came together has gone, so have its waiters,
and who comes next is served. A turn without a limit would let them hold the door for this long each."""
STREAMS_AT_ONCE = 8
"""Of calls that send several requests, as reflection does, each at its own pace."""
CALLS_PER_CONNECTION = 8
"""Open at once, watches of health among them: nobody who has no token holds more than these."""

Context = grpc.aio.ServicerContext[Any, Any]
Deserialize = Callable[[bytes], Message]


class OpenServices:
    """Wraps the handlers of services that need no token."""

    def __init__(self) -> None:
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._streams = 0
        self._open: Counter[str] = Counter()

    def wrap(self, handler: Any) -> Any:
        """The handler, reading bytes under limits."""
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._several(handler), response_serializer=handler.response_serializer
            )
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(handler), response_serializer=handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(
            self._unary(handler), response_serializer=handler.response_serializer
        )

    def _unary(self, handler: Any) -> Any:
        async def handle(requests: Any, context: Context) -> Any:
            del requests
            async with self._room(context):
                return await handler.unary_unary(await self._only(context, handler.request_deserializer), context)

        return handle

    def _stream(self, handler: Any) -> Any:
        async def handle(requests: Any, context: Context) -> None:
            del requests
            async with self._room(context):
                # gRPC's own health service writes its answers to the context itself.
                await handler.unary_stream(await self._only(context, handler.request_deserializer), context)

        return handle

    def _several(self, handler: Any) -> Any:
        async def handle(requests: Any, context: Context) -> AsyncIterator[Any]:
            del requests
            if self._streams >= STREAMS_AT_ONCE:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls are open")
            self._streams += 1
            try:
                async for answer in handler.stream_stream(_each(context, handler.request_deserializer), context):
                    yield answer
            finally:
                self._streams -= 1

        return handle

    @asynccontextmanager
    async def _room(self, context: Context) -> AsyncIterator[None]:
        connection = context.peer()
        if self._open[connection] >= CALLS_PER_CONNECTION:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls are open on this connection")
        self._open[connection] += 1
        try:
            yield
        finally:
            self._open[connection] -= 1
            if not self._open[connection]:
                del self._open[connection]

    async def _only(self, context: Context, deserialize: Deserialize) -> Message:
        try:
            async with asyncio.timeout(READ_SECONDS), self._reads:
                request = _parsed(await context.read(), deserialize)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the request could not be read in time; try again")
        return request if request is not None else await _refuse(context)


async def _each(context: Context, deserialize: Deserialize) -> AsyncIterator[Message]:
    while isinstance(raw := await context.read(), bytes):
        request = _parsed(raw, deserialize)
        yield request if request is not None else await _refuse(context)


def _parsed(raw: Any, deserialize: Deserialize) -> Message | None:
    if not isinstance(raw, bytes) or len(raw) > MAX_REQUEST_BYTES:
        return None
    with suppress(DecodeError):
        return deserialize(raw)
    return None


async def _refuse(context: Context) -> NoReturn:
    message = f"send a valid request of at most {MAX_REQUEST_BYTES} bytes"
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
