"""Writes staged artifacts into Storage and links them."""

from __future__ import annotations

from superstoryboard.process.main import start

from .settings import AssetWriterSettings
from .wiring import run


def main() -> None:
    """Run the service."""
    start("asset_writer", __doc__, AssetWriterSettings, run)


if __name__ == "__main__":
    main()
