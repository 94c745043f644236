"""Settings that both workers read."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AliasChoices, Field, SecretStr, field_validator

from superstoryboard.config.addresses import ProjectUrl, PublicUrl
from superstoryboard.providers.settings import ModelSettings
from superstoryboard.storage.keys import key_problem

DRAIN_MARGIN_SECONDS = 10


def outlasting(drain_seconds: float, call_seconds: float, call: str) -> float:
    """The drain time, where it lasts longer than the longest paid call.

    Raises:
        ValueError: SIGTERM would cut a paid call.
    """
    if drain_seconds < call_seconds + DRAIN_MARGIN_SECONDS:
        raise ValueError(
            f"must be at least {call} ({call_seconds:g} s) plus {DRAIN_MARGIN_SECONDS} s,"
            " or a stop interrupts paid calls"
        )
    return drain_seconds


class WorkerSettings(ModelSettings):
    """Provider, staging key and broker; no key that could write a public bucket."""

    amqp_url: SecretStr | None = None
    google_gemini_base_url: str = "https://generativelanguage.googleapis.com"
    google_api_version: str = "v1beta"
    supabase_url: ProjectUrl
    supabase_public_url: PublicUrl | None = None
    supabase_staging_key: SecretStr = Field(
        validation_alias=AliasChoices(
            "supabase_staging_key", "supabase_secret_key", "supabase_service_role_key", "supabase_service_key"
        )
    )
    supabase_anon_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("supabase_anon_key", "supabase_publishable_key")
    )
    """Sent as `apikey` beside a staging key that is a JWT of its own role."""
    staging_bucket: str = "artifact-staging"
    storage_timeout_seconds: float = Field(default=300, gt=0)
    source_url_allowed_hosts: str = ""
    staging_patience_seconds: float = Field(default=180, ge=0)
    """How long Storage must keep saying that it does not have paid bytes, or refuses them, before that is believed."""
    longest_call_seconds: ClassVar[float] = 3600
    """ProcessQueue lasts as long as a video does."""
    show_prompts: bool = False
    """Whether texts of providers that repeat the prompt are shown as they are."""
    retry_delay_seconds: int = Field(default=30, ge=0)
    """Longest wait before the second attempt; it doubles with each further one."""

    @field_validator("supabase_staging_key")
    @classmethod
    def check_staging_key(cls, key: SecretStr) -> SecretStr:
        """Refuse what can be seen to be of no use for staging."""
        problem = key_problem(key.get_secret_value(), "a staging key (docs/STAGING-KEY.md)")
        if problem is not None:
            raise ValueError(f"the key {problem}")
        return key

    def api_key(self) -> str | None:
        """The publishable or anon key, where it is set."""
        return self.supabase_anon_key.get_secret_value() if self.supabase_anon_key else None

    def storage_origins(self) -> list[str]:
        """Addresses of the own Storage: sources there are always allowed."""
        return [url for url in (self.supabase_url, self.supabase_public_url) if url]

    def allowed_hosts(self) -> list[str]:
        """Hosts from which source images may come, comma-separated in the setting."""
        return [host.strip().lower() for host in self.source_url_allowed_hosts.split(",") if host.strip()]
