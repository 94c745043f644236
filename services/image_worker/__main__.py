"""Makes images of queued jobs."""

from __future__ import annotations

from superstoryboard.process.main import start_worker

from .settings import ImageWorkerSettings
from .wiring import run


def main() -> None:
    """Run the service."""
    start_worker("image_worker", __doc__, ImageWorkerSettings, run)


if __name__ == "__main__":
    main()
