"""A way to a server of this machine that comes from another of its addresses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 64 * 1024


@contextmanager
def arriving_from(source: str, address: str) -> Iterator[str]:
    """An address whose connections reach `address` from the loopback address `source`."""
    host, _, port = address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ends: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    far = socket.create_connection((host, int(port)), source_address=(source, 0))
                    ends.extend((near, far))
                    for one, other in ((near, far), (far, near)):
                        threading.Thread(target=_copy, args=(one, other), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while chunk := one.recv(CHUNK_BYTES):
            other.sendall(chunk)
        other.shutdown(socket.SHUT_WR)
