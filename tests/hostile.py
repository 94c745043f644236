"""Callers without a token on connections of their own, half of which never end what they begin to send."""

from __future__ import annotations

import socket
from collections import Counter
from types import TracebackType
from typing import Self

import grpc
import h2.connection
import h2.events
import psutil

KIBIBYTE = 1024
WAIT_SECONDS = 60.0
PATHS = (
    "/superstoryboard.v1.GenerationService/CreateImageJob",
    "/superstoryboard.v1.GenerationService/BatchCreateJobs",
    "/superstoryboard.v1.GenerationService/WatchJobs",
    "/superstoryboard.v1.QueueService/ListQueues",
)
BEGINNING_BYTES = 8 * KIBIBYTE
ANNOUNCED_BYTES = 1024 * KIBIBYTE


class HostileCallers:
    """So many connections to the process `pid` at `address`; `answers` counts the statuses that came back."""

    def __init__(self, address: str, pid: int, count: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss
        self.answers: Counter[str] = Counter()
        self._callers = [_Caller(address, slow=number % 2 == 1) for number in range(count)]
        self._turn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for caller in self._callers:
            caller.close()

    def call_each(self) -> None:
        """One call of every connection, all begun before the first answer is read."""
        for caller in self._callers:
            self.begin(caller)
        for caller in self._callers:
            self.answers[caller.finish()] += 1

    def call_next(self) -> None:
        """One call of one connection, in turn."""
        caller = self._callers[self._turn % len(self._callers)]
        self.begin(caller)
        self.answers[caller.finish()] += 1

    def begin(self, caller: _Caller) -> None:
        """Send what a call of this connection begins with."""
        self._turn += 1
        caller.begin(PATHS[self._turn % len(PATHS)])

    def memory_each(self) -> float:
        """Bytes by which the service has grown, for each connection."""
        return (self._process.memory_info().rss - self._before) / len(self._callers)


class _Caller:
    """One connection; a slow one announces more than it sends, and never ends its request."""

    def __init__(self, address: str, *, slow: bool) -> None:
        host, _, port = address.rpartition(":")
        self._address = address
        self._slow = slow
        self._peer = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
        self._wire = h2.connection.H2Connection()
        self._wire.initiate_connection()
        self._peer.sendall(self._wire.data_to_send())

    def begin(self, path: str) -> None:
        stream = self._wire.get_next_available_stream_id()
        self._wire.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", self._address),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ],
        )
        size = ANNOUNCED_BYTES if self._slow else 0
        room = min(BEGINNING_BYTES, self._wire.local_flow_control_window(stream) - 5)
        body = bytes(room) if self._slow else b""
        self._wire.send_data(stream, b"\0" + size.to_bytes(4, "big") + body, end_stream=not self._slow)
        self._peer.sendall(self._wire.data_to_send())

    def finish(self) -> str:
        """The name of the status that ends the call."""
        status = ""
        while True:
            chunk = self._peer.recv(65_536)
            if not chunk:
                return status or "CLOSED"
            for event in self._wire.receive_data(chunk):
                if isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived):
                    headers = {_text(key): _text(value) for key, value in event.headers or ()}
                    status = _NAMES.get(headers.get("grpc-status", ""), status)
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    self._peer.sendall(self._wire.data_to_send())
                    return status or "RESET"

    def close(self) -> None:
        self._peer.close()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


_NAMES = {str(code.value[0]): code.name for code in grpc.StatusCode}
