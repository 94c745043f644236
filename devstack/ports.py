"""Ports on loopback that nobody else will take while a server restarts."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections: such a port stays free between two starts.
CANDIDATES = range(20_000, 32_000)


def free_port() -> int:
    """A TCP port on loopback that is free now.

    Raises:
        OSError: no port is free.
    """
    for port in random.sample(CANDIDATES, k=len(CANDIDATES)):
        if is_free(port):
            return port
    raise OSError("no free port on loopback")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
