"""Accepts jobs by gRPC and writes them to the queues."""

from __future__ import annotations

from superstoryboard.config.settings import read_or_exit
from superstoryboard.process.lifecycle import arguments, run_and_exit
from superstoryboard.telemetry.logs import configure_logs

from .settings import IngestSettings
from .wiring import run


def main() -> None:
    """Run the service."""
    options = arguments(__doc__ or "").parse_args()
    settings = read_or_exit(IngestSettings, check_only=options.check_config)
    configure_logs("ingest", settings.log_level)
    run_and_exit(run(settings))


if __name__ == "__main__":
    main()
