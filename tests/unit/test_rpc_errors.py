"""What callers are told of a handler's failure, over gRPC: by its sort, and nothing of its text where it is a bug."""

from __future__ import annotations

from typing import Any

import grpc
import psycopg
import pytest

from devstack.stack.ports import free_port
from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.metrics import RpcMetrics
from superstoryboard.v1 import worker_service_pb2 as api
from superstoryboard.v1.worker_service_pb2_grpc import (
    WorkerServiceServicer,
    WorkerServiceStub,
    add_WorkerServiceServicer_to_server,
)
from tests.wire import reason

SECRET = "a line of the log"


class Failing(WorkerServiceServicer):
    """Fails as it is told to; it has no ProcessQueue of its own."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def GetStatus(self, request: api.GetStatusRequest, context: Any) -> api.GetStatusResponse:
        del request, context
        raise self._error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DatabaseUnavailableError("the database is away"), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (psycopg.errors.NumericValueOutOfRange(SECRET), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (psycopg.errors.UndefinedTable(SECRET), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (NotImplementedError(SECRET), grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
        (TimeoutError(SECRET), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_each_failure_has_its_status(error: Exception, code: grpc.StatusCode, said: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = Server(address, Authenticator([]), RpcMetrics())
    server.add("superstoryboard.v1.WorkerService", add_WorkerServiceServicer_to_server, Failing(error))
    await server.start(reflect=False)
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await WorkerServiceStub(channel).GetStatus(api.GetStatusRequest(), timeout=60)
    await server.stop(0)
    assert (caught.value.code(), reason(caught.value)) == (code, said)
    assert SECRET not in (caught.value.details() or "")


async def test_an_address_that_is_taken_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    first, second = (Server(address, Authenticator([]), RpcMetrics()) for _ in range(2))
    await first.start(reflect=False)
    with pytest.raises(OSError, match=f"cannot listen on {address}"):
        await second.start(reflect=False)
    await first.stop(0)
