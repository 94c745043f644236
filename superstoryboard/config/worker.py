"""Settings that both workers read."""

from __future__ import annotations

from pydantic import AliasChoices, Field, SecretStr

from superstoryboard.config.models import ModelSettings


class WorkerSettings(ModelSettings):
    """Provider, staging key and broker; no key that could write a public bucket."""

    amqp_url: SecretStr | None = None
    google_gemini_base_url: str = "https://generativelanguage.googleapis.com"
    google_api_version: str = "v1beta"
    supabase_url: str
    supabase_public_url: str | None = None
    supabase_staging_key: SecretStr = Field(
        validation_alias=AliasChoices(
            "supabase_staging_key", "supabase_secret_key", "supabase_service_role_key", "supabase_service_key"
        )
    )
    staging_bucket: str = "artifact-staging"
    storage_timeout_seconds: float = Field(default=300, gt=0)
    source_url_allowed_hosts: str = ""
    drain_seconds: float = Field(default=30, ge=0)
    retry_delay_seconds: int = Field(default=30, ge=0)
    """Longest wait before the second attempt; it doubles with each further one."""

    def storage_origins(self) -> list[str]:
        """Addresses of the own Storage: sources there are always allowed."""
        return [url for url in (self.supabase_url, self.supabase_public_url) if url]

    def allowed_hosts(self) -> list[str]:
        """Hosts from which source images may come, comma-separated in the setting."""
        return [host.strip().lower() for host in self.source_url_allowed_hosts.split(",") if host.strip()]
