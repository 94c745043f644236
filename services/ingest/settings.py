"""Settings of ingest: it holds no provider key and no storage key."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from superstoryboard.config.server import ServerSettings
from superstoryboard.config.settings import Port


class IngestSettings(ServerSettings):
    """Ingest."""

    grpc_listen: Port = "127.0.0.1:50051"
    image_model: str = ""
    video_model: str = ""
    model_catalogue: Path | None = None
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    drain_seconds: float = Field(default=30, ge=0)
