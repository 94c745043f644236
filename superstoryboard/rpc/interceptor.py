"""Around every call: authentication, errors as status, one log line, one count."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_status import rpc_status

from superstoryboard.auth.interceptor import Authenticator
from superstoryboard.jobs.database import DatabaseUnavailableError
from superstoryboard.rpc.errors import ApiError, unavailable
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import RpcMetrics

QUIET = ("/grpc.health.v1.Health/",)
Context = grpc.aio.ServicerContext[Any, Any]

log = get_logger("rpc")


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Wraps unary and server-streaming handlers."""

    def __init__(self, authenticator: Authenticator, metrics: RpcMetrics) -> None:
        self._authenticator = authenticator
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a method, wrapped; None for an unknown method, which gRPC answers itself."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith("/grpc."):
            return handler
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _unary(self, method: str, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Any:
        async def handle(request: Any, context: Context) -> Any:
            started = time.monotonic()
            code = grpc.StatusCode.CANCELLED
            try:
                self._authenticator.admit(method, tuple(context.invocation_metadata() or ()))
                answer = await behaviour(request, context)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                refusal = _as_api_error(method, error)
                code = refusal.code
                await _abort(context, method, refusal)
            else:
                code = grpc.StatusCode.OK
                log.info("Call answered", method=method, milliseconds=round((time.monotonic() - started) * 1000, 1))
                return answer
            finally:
                self._metrics.answered(method, code.name, time.monotonic() - started)

        return handle

    def _stream(self, method: str, behaviour: Callable[[Any, Context], AsyncIterator[Any]]) -> Any:
        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            code = grpc.StatusCode.CANCELLED
            try:
                self._authenticator.admit(method, tuple(context.invocation_metadata() or ()))
                async for answer in behaviour(request, context):
                    yield answer
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                refusal = _as_api_error(method, error)
                code = refusal.code
                await _abort(context, method, refusal)
            else:
                code = grpc.StatusCode.OK
                log.info("Stream ended", method=method)
            finally:
                self._metrics.streamed(method, code.name)

        return handle


async def _abort(context: Context, method: str, refusal: ApiError) -> None:
    log.info("Call refused", method=method, code=refusal.code.name, reason=refusal.reason)
    await context.abort_with_status(rpc_status.to_status(refusal.to_status()))  # type: ignore[attr-defined]  # not in grpc-stubs


def _as_api_error(method: str, error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, NotImplementedError):
        return ApiError(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", f"{method} is not offered by this server")
    if isinstance(error, DatabaseUnavailableError):
        return unavailable(str(error))
    log.error("Call failed", method=method, exc_info=error)
    return ApiError(grpc.StatusCode.INTERNAL, "INTERNAL", "internal error")
