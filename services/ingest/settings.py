"""Settings of ingest: it holds no provider key, no storage key, and a broker only where it pushes events."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from superstoryboard.config.server import ServerSettings
from superstoryboard.config.settings import Port


class IngestSettings(ServerSettings):
    """Ingest."""

    grpc_listen: Port = "127.0.0.1:50051"
    events_amqp_url: SecretStr | None = None
    image_model: str = ""
    video_model: str = ""
    model_catalogue: Path | None = None
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    drain_seconds: float = Field(default=30, ge=0)
