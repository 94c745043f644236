"""Makes videos of queued jobs."""

from __future__ import annotations

from superstoryboard.config.settings import read_or_exit
from superstoryboard.process.lifecycle import arguments, run_and_exit
from superstoryboard.telemetry.logs import configure_logs

from .settings import VideoWorkerSettings
from .wiring import run


def main() -> None:
    """Run the service."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--once", type=int, metavar="N", help="process up to N messages and exit")
    options = parser.parse_args()
    settings = read_or_exit(VideoWorkerSettings, check_only=options.check_config)
    configure_logs("video_worker", settings.log_level)
    run_and_exit(run(settings, options.once))


if __name__ == "__main__":
    main()
