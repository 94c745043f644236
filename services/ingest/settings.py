"""Settings of ingest: it holds no provider key, no storage key, and a broker only where it pushes events."""

from __future__ import annotations

from pydantic import Field, SecretStr

from superstoryboard.config.models import ModelSettings
from superstoryboard.config.settings import Port


class IngestSettings(ModelSettings):
    """Ingest."""

    grpc_listen: Port = "127.0.0.1:50051"
    events_amqp_url: SecretStr | None = None
    image_model: str = ""
    video_model: str = ""
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    drain_seconds: float = Field(default=10, ge=0)
