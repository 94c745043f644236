"""Ports on loopback that nobody else will take while a server restarts."""

from __future__ import annotations

import random
import socket
from dataclasses import asdict, dataclass, fields
from typing import Self

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


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where each part of a stack listens on loopback. The defaults are those of `make up`."""

    ingest: int = 50051
    image_worker: int = 50052
    video_worker: int = 50053
    asset_writer: int = 50054
    postgres: int = 55432
    amqp: int = 55672
    google: int = 58080
    storage: int = 58000
    ingest_health: int = 59051
    image_worker_health: int = 59052
    video_worker_health: int = 59053
    asset_writer_health: int = 59054

    @classmethod
    def free(cls) -> Self:
        """Ports that are free now, for stacks that live beside others."""
        chosen: set[int] = set()
        while len(chosen) < len(fields(cls)):
            chosen.add(free_port())
        return cls(**dict(zip((field.name for field in fields(cls)), chosen, strict=True)))

    def occupied(self) -> dict[str, int]:
        """The parts whose port somebody else holds."""
        return {name: port for name, port in asdict(self).items() if not is_free(port)}

    def address(self, part: str) -> str:
        """`host:port` of a part."""
        return f"{LOOPBACK}:{getattr(self, part)}"

    def health_address(self, service: str) -> str:
        """`host:port` of a service's health port, which speaks plaintext."""
        return self.address(f"{service}_health")
