"""Settings of video_worker."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from superstoryboard.config.settings import Port
from superstoryboard.providers.google.rest import Timeouts
from superstoryboard.worker.settings import WorkerSettings, outlasting


class VideoWorkerSettings(WorkerSettings):
    """Gemini Omni and Veo. Each route has credentials of its own, and any of them may be absent."""

    grpc_listen: Port = "127.0.0.1:50053"
    google_generative_ai_api_key: SecretStr | None = None
    google_vertex_project: str = ""
    google_vertex_location: str = ""
    google_vertex_api_key: SecretStr | None = None
    google_vertex_base_url: str = ""
    video_model: str = ""
    video_concurrency: int = Field(default=10, ge=1, le=10_000)
    video_lease_seconds: int = Field(default=120, ge=3)
    video_requests_per_minute: int = Field(default=10, ge=0)
    video_requests_per_day: int = Field(default=0, ge=0)
    video_running_operations: int = Field(default=10, ge=0)
    video_poll_seconds: float = Field(default=10, gt=0)
    video_timeout_seconds: float = Field(default=360, gt=0)
    lost_operation_search_seconds: float = Field(default=900, ge=0)
    """For how long the operation of a submit without an answer is looked for where the provider lists operations."""
    provider_webhook_url: str = Field(default="", pattern=r"^(https://\S+)?$")
    """Where the provider tells the end of operations, with the row of the ledger; empty: nowhere."""
    video_gone_seconds: float = Field(default=600, ge=0)
    """For how long the provider must say that an operation or a video is gone before that is believed."""
    video_max_bytes: int = Field(default=100 * 1024 * 1024, gt=0)
    drain_seconds: float = Field(default=70, validate_default=True)

    @field_validator("drain_seconds")
    @classmethod
    def check_drain(cls, seconds: float) -> float:
        """A submit in flight is paid for: its operation's name must be able to arrive and be kept."""
        return outlasting(seconds, Timeouts().submit, "the longest submit")
