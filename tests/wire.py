"""Requests as raw bytes, and how calls were refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import grpc
import psutil
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

SAMPLE_SECONDS = 0.005
MEBIBYTE = 1024 * 1024


def raw_call(channel: grpc.Channel, method: str) -> Callable[..., bytes]:
    """A method with one answer, called with any bytes."""
    return channel.unary_unary(f"/superstoryboard.v1.{method}", bytes, bytes)


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def details(error: grpc.RpcError, kind: Any) -> Any:
    """The detail of a kind that came with an error."""
    for packed in rpc_status.from_call(cast("grpc.Call", error)).details:
        detail = kind()
        if packed.Unpack(detail):
            return detail
    raise AssertionError(f"no {kind.__name__} came with {error}")


def wrong_fields(error: grpc.RpcError) -> dict[str, str]:
    """Field and rule of each violation."""
    bad = details(error, error_details_pb2.BadRequest)
    return {violation.field: violation.description for violation in bad.field_violations}


def reason(error: grpc.RpcError) -> str:
    """The stable word for programs."""
    return str(details(error, error_details_pb2.ErrorInfo).reason)


def wait_ok(call: Callable[[], Any]) -> None:
    """Repeats a call while the server has no room: it learns of the end of others a moment after their clients."""
    while True:
        try:
            call()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
        else:
            return


@contextmanager
def memory_of(pid: int) -> Iterator[Callable[[], int]]:
    """Watches a process; gives how many bytes its memory has grown at most."""
    memory = psutil.Process(pid).memory_info
    before = memory().rss
    sizes = [before]
    done = threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_SECONDS):
            sizes.append(memory().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: max(sizes) - before
    finally:
        done.set()
        thread.join()
