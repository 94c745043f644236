"""Accepts jobs by gRPC and writes them to the queues."""

from __future__ import annotations

import asyncio
import sys

from services.ingest.settings import IngestSettings
from services.ingest.wiring import run
from superstoryboard.config.settings import read_or_exit
from superstoryboard.runtime.process import arguments
from superstoryboard.telemetry.logs import configure_logs


def main() -> None:
    """Run the service."""
    options = arguments(__doc__ or "").parse_args()
    settings = read_or_exit(IngestSettings, check_only=options.check_config)
    configure_logs("ingest", settings.log_level)
    sys.exit(0 if asyncio.run(run(settings)) else 1)


if __name__ == "__main__":
    main()
