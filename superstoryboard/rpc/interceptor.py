"""Around every call: authentication before the request is read, limits, errors as status, one log line, one count.

Every method is registered as one that takes a stream of bytes: gRPC then reads nothing until it is asked to, so that
the request of a refused call is never read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.db.refused_values import refuses_a_value
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.callers import address_of, stands_for_many
from superstoryboard.rpc.errors import ApiError, invalid, unavailable
from superstoryboard.rpc.limits import READ_SECONDS, UNTIMED, ServerLimits, Shares, check_metadata, request_bytes
from superstoryboard.rpc.open_services import OpenServices
from superstoryboard.rpc.permissions import is_open
from superstoryboard.rpc.tokens import Principal
from superstoryboard.rpc.tracing import join_trace
from superstoryboard.rpc.wire import MEBIBYTE, parse
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import RpcMetrics

Context = grpc.aio.ServicerContext[Any, Any]
Deserialize = Callable[[bytes], Message]
Answer = Callable[[Principal, Message, Context], Awaitable[Any]]
"""Answers a request that was read; a stream is written to the context."""
Ended = Callable[[str, grpc.StatusCode, float], None]
"""Told once of a call how it ended, and after how many seconds."""

log = get_logger("rpc")


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Wraps unary and server-streaming handlers."""

    def __init__(self, authenticator: Authenticator, metrics: RpcMetrics, limits: ServerLimits | None = None) -> None:
        self._authenticator = authenticator
        self._metrics = metrics
        self._limits = limits or ServerLimits()
        self._open_services = OpenServices()
        self._calls_of_tokens = Shares(self._limits.calls_per_token, "calls at once")
        self._calls_of_addresses = Shares(self._limits.calls_per_address, "calls at once", "address")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a method, wrapped; None for an unknown method, which gRPC answers itself."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return None
        if is_open(method):
            return self._open_services.wrap(handler)
        streams = handler.response_streaming
        answer = self._stream(handler.unary_stream) if streams else self._unary(method, handler.unary_unary)
        ended = self._streamed if streams else self._answered
        make = grpc.stream_stream_rpc_method_handler if streams else grpc.stream_unary_rpc_method_handler
        return make(
            self._call(method, handler.request_deserializer, answer, ended),
            response_serializer=handler.response_serializer,
        )

    def _call(self, method: str, deserialize: Deserialize, answer: Answer, ended: Ended) -> Any:
        async def handle(requests: Any, context: Context) -> Any:
            del requests
            started = time.monotonic()
            code = grpc.StatusCode.CANCELLED
            try:
                with self._admitted(method, context) as principal:
                    response = await answer(principal, await _read(method, context, deserialize), context)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                refusal = _as_api_error(method, error)
                code = refusal.code
                await _abort(context, method, refusal)
            else:
                code = grpc.StatusCode.OK
                return response
            finally:
                ended(method, code, time.monotonic() - started)

        return handle

    def _unary(self, method: str, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Answer:
        async def answer(principal: Principal, request: Message, context: Context) -> Any:
            del principal
            async with _time_limit(None if method in UNTIMED else self._limits.call_seconds):
                return await behaviour(request, context)

        return answer

    def _answered(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        if code is grpc.StatusCode.OK:
            log.info("Call completed", method=method, milliseconds=round(seconds * 1000, 1))
        self._metrics.answered(method, code.name, seconds)

    def _stream(self, behaviour: Callable[[Any, Context], AsyncIterator[Any]]) -> Answer:
        async def answer(principal: Principal, request: Message, context: Context) -> None:
            async with self._authenticator.until_token_ends(principal):
                async for response in behaviour(request, context):
                    await context.write(response)

        return answer

    def _streamed(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        del seconds
        if code is grpc.StatusCode.OK:
            log.info("Stream ended", method=method)
        self._metrics.streamed(method, code.name)

    @contextmanager
    def _admitted(self, method: str, context: Context) -> Iterator[Principal]:
        """The caller, from the metadata alone, holding its share of the open calls and that of its address."""
        metadata = tuple(context.invocation_metadata() or ())
        check_metadata(metadata)
        join_trace(metadata)
        principal = self._authenticator.admit(method, metadata)
        weight = request_bytes(method) // MEBIBYTE
        with ExitStack() as shares:
            shares.enter_context(self._calls_of_tokens.hold(principal.done_by, weight))
            if not stands_for_many(principal, context):
                shares.enter_context(self._calls_of_addresses.hold(address_of(context.peer()), weight))
            yield principal


async def _read(method: str, context: Context, deserialize: Deserialize) -> Message:
    limit = request_bytes(method)
    async with _time_limit(READ_SECONDS):
        raw = await context.read()
    if not isinstance(raw, bytes):
        raise invalid([("request", f"is missing, or longer than {limit} bytes")])
    return parse(raw, deserialize, limit)


@asynccontextmanager
async def _time_limit(seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        message = f"the call took longer than {seconds:g} s"
        raise ApiError(grpc.StatusCode.DEADLINE_EXCEEDED, "CALL_TIMEOUT", message) from None


async def _abort(context: Context, method: str, refusal: ApiError) -> None:
    log.info("Call rejected", method=method, code=refusal.code.name, reason=refusal.reason)
    await context.abort_with_status(rpc_status.to_status(refusal.to_status()))  # type: ignore[attr-defined]  # not in grpc-stubs


def _as_api_error(method: str, error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, NotImplementedError):
        return ApiError(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", f"{method} is not implemented by this server")
    if isinstance(error, DatabaseUnavailableError):
        return unavailable(str(error))
    if refuses_a_value(error):
        log.error("The database rejected a value of a request", method=method, exc_info=error)
        return invalid([("request", "contains a value that the database cannot store")])
    log.error("Call failed", method=method, exc_info=error)
    return ApiError(grpc.StatusCode.INTERNAL, "INTERNAL", "internal error")
