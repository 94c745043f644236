"""What one server, one connection and one caller may use at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from superstoryboard.config.server import ServerSettings
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.wire import MEBIBYTE

MAX_MESSAGE_BYTES = 16 * MEBIBYTE
MAX_ANSWER_BYTES = 4 * MAX_MESSAGE_BYTES
"""Of a batch: its jobs hold what was asked for, and more."""
MAX_REQUEST_BYTES = {"/superstoryboard.v1.GenerationService/BatchCreateJobs": MAX_MESSAGE_BYTES}
"""By method; every other request has at most one MiB."""
UNTIMED = frozenset({"/superstoryboard.v1.WorkerService/ProcessQueue"})
"""Methods that keep to the caller's deadline, or to a longest time of their own."""
READ_SECONDS = 30.0
"""Time for a request to arrive."""
BUSY_SECONDS = 1
MAX_METADATA_BYTES = 16 * 1024
"""As HTTP/2 counts: names, values and `ENTRY_BYTES` for each pair."""
ENTRY_BYTES = 32
PING_SECONDS = 4
"""Clients may ask this often whether a silent connection still lives."""
DEAD_PEER_SECONDS = 60
"""The server asks a silent client itself after this time, and drops one that does not answer."""
DEAD_PEER_ANSWER_SECONDS = 20


@dataclass(frozen=True)
class ServerLimits:
    """Limits of a server. Calls that are open count by the MiB that a request of their method may have."""

    connections: int = 2000
    streams_per_connection: int = 1000
    calls_per_token: int = 512
    calls_per_address: int = 1024
    call_seconds: float = 60.0
    connection_age_seconds: float = 300.0
    connection_grace_seconds: float = 60.0

    @classmethod
    def of(cls, settings: ServerSettings) -> ServerLimits:
        """What a connection and a caller may use at most by the settings."""
        return cls(
            connections=settings.grpc_max_connections,
            streams_per_connection=settings.grpc_max_streams,
            calls_per_token=settings.grpc_calls_per_token,
            calls_per_address=settings.grpc_calls_per_address,
            call_seconds=settings.grpc_call_seconds,
            connection_age_seconds=settings.grpc_connection_age_seconds,
            connection_grace_seconds=settings.grpc_connection_grace_seconds or settings.longest_call_seconds,
        )

    def options(self) -> list[tuple[str, int]]:
        """The part that gRPC itself holds to."""
        return [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.max_concurrent_streams", self.streams_per_connection),
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 1000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", DEAD_PEER_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", DEAD_PEER_ANSWER_SECONDS * 1000),
            ("grpc.max_connection_age_ms", round(self.connection_age_seconds * 1000)),
            ("grpc.max_connection_age_grace_ms", round(self.connection_grace_seconds * 1000)),
            # Else requests that nobody reads are let come by the megabyte, and kept.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.so_reuseport", 0),
        ]


def request_bytes(method: str) -> int:
    """The longest request of a method."""
    return MAX_REQUEST_BYTES.get(method, MEBIBYTE)


def check_metadata(metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    """Refuse what is too long. The core tells clients the limit, and takes more where they ignore it (grpcio 1.85).

    Raises:
        ApiError: RESOURCE_EXHAUSTED.
    """
    if sum(len(key) + len(value) + ENTRY_BYTES for key, value in metadata) > MAX_METADATA_BYTES:
        message = f"the metadata of a call must not exceed {MAX_METADATA_BYTES} bytes"
        raise ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, "METADATA_TOO_LARGE", message)


class Shares:
    """Counts what each caller holds of something, up to a limit for each; `whom` says what tells callers apart."""

    def __init__(self, limit: int, what: str, whom: str = "caller") -> None:
        self._limit = limit
        self._what = what
        self._whom = whom
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, caller: str, weight: int = 1) -> Iterator[None]:
        """Hold a share while the block runs.

        Raises:
            ApiError: RESOURCE_EXHAUSTED, the caller holds all that it may.
        """
        if self._held.get(caller, 0) + weight > self._limit:
            raise ApiError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_CALLS",
                f"too many {self._what}: at most {self._limit} may be open for one {self._whom}",
                retry_after_seconds=BUSY_SECONDS,
            )
        self._held[caller] += weight
        try:
            yield
        finally:
            self._held[caller] -= weight
            if not self._held[caller]:
                del self._held[caller]
