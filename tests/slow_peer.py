"""A peer that begins many requests over one connection and ends none: HTTP/2 that no client of gRPC would speak."""

from __future__ import annotations

import socket

import h2.connection
import h2.events

WAIT_SECONDS = 60.0


def begin_requests(address: str, path: str, size: int, count: int) -> None:
    """Send all of `count` requests of `size` bytes but their last byte, as far as the server lets them come.

    Returns once the server has ended every call.
    """
    host, _, port = address.rpartition(":")
    wire = h2.connection.H2Connection()
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as peer:
        wire.initiate_connection()
        left = dict.fromkeys(range(1, 2 * count, 2), size - 1)
        for stream in left:
            wire.send_headers(stream, _head(address, path))
            wire.send_data(stream, b"\0" + size.to_bytes(4, "big"))
        while left:
            for stream in left:
                _send(wire, stream, left)
            peer.sendall(wire.data_to_send())
            for event in wire.receive_data(peer.recv(65_536)):
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    left.pop(event.stream_id, None)


def _send(wire: h2.connection.H2Connection, stream: int, left: dict[int, int]) -> None:
    """Send of one request what the server takes now."""
    while (room := min(wire.local_flow_control_window(stream), wire.max_outbound_frame_size, left[stream])) > 0:
        wire.send_data(stream, bytes(room))
        left[stream] -= room


def _head(address: str, path: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
