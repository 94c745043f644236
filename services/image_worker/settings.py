"""Settings of image_worker."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from superstoryboard.config.settings import Port
from superstoryboard.worker.settings import WorkerSettings, outlasting


class ImageWorkerSettings(WorkerSettings):
    """Gemini images."""

    grpc_listen: Port = "127.0.0.1:50052"
    google_generative_ai_api_key: SecretStr
    image_model: str = ""
    image_concurrency: int = Field(default=5, ge=1, le=1000)
    image_lease_seconds: int = Field(default=120, ge=3)
    image_requests_per_minute: int = Field(default=15, ge=0)
    image_requests_per_day: int = Field(default=0, ge=0)
    image_timeout_seconds: float = Field(default=90, gt=0)
    drain_seconds: float = Field(default=100, validate_default=True)

    @field_validator("drain_seconds")
    @classmethod
    def check_drain(cls, seconds: float, info: ValidationInfo) -> float:
        """A call in flight is paid for: it must be able to end."""
        return outlasting(seconds, info.data.get("image_timeout_seconds", 0), "IMAGE_TIMEOUT_SECONDS")
