"""Accepts jobs by gRPC and writes them to the queues."""

from __future__ import annotations

from superstoryboard.process.main import start

from .settings import IngestSettings
from .wiring import run


def main() -> None:
    """Run the service."""
    start("ingest", __doc__, IngestSettings, run)


if __name__ == "__main__":
    main()
