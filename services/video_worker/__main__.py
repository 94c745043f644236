"""Makes videos of queued jobs."""

from __future__ import annotations

from superstoryboard.process.main import start_worker

from .settings import VideoWorkerSettings
from .wiring import run


def main() -> None:
    """Run the service."""
    start_worker("video_worker", __doc__, VideoWorkerSettings, run)


if __name__ == "__main__":
    main()
