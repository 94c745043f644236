"""Settings of asset_writer: the only process with a key that writes public buckets; it has no provider key."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator

from superstoryboard.config.addresses import ProjectUrl, PublicUrl
from superstoryboard.config.server import ServerSettings
from superstoryboard.config.settings import Identifier, Port
from superstoryboard.storage.buckets import UrlKind
from superstoryboard.storage.keys import key_problem


class AssetWriterSettings(ServerSettings):
    """Storage, broker, kv table."""

    grpc_listen: Port = "127.0.0.1:50054"
    amqp_url: SecretStr | None = None
    supabase_url: ProjectUrl
    supabase_public_url: PublicUrl | None = None
    supabase_secret_key: SecretStr = Field(
        validation_alias=AliasChoices("supabase_secret_key", "supabase_service_role_key", "supabase_service_key")
    )
    staging_bucket: str = "artifact-staging"
    storage_timeout_seconds: float = Field(default=300, gt=0)
    images_url: UrlKind = UrlKind.PUBLIC
    videos_url: UrlKind = UrlKind.PUBLIC
    signed_url_seconds: int = Field(default=604_800, ge=60, le=3_153_600_000)
    kv_table: Identifier = "kv_store_7ee7668a"
    queue_completion: Literal["archive", "delete"] = "archive"
    writer_concurrency: int = Field(default=4, ge=1, le=100)
    writer_lease_seconds: int = Field(default=60, ge=3)
    writer_poll_seconds: float = Field(default=5, gt=0)
    writer_refusals: int = Field(default=10, ge=1, le=1000)
    writer_doubt_seconds: float = Field(default=600, gt=0)
    clean_after_seconds: float = Field(default=3600, gt=0)
    drain_seconds: float = Field(default=60, ge=0)

    @field_validator("supabase_secret_key")
    @classmethod
    def check_secret_key(cls, key: SecretStr) -> SecretStr:
        """Refuse what can be seen to be no secret key."""
        problem = key_problem(key.get_secret_value(), "the project's secret key (sb_secret_…) or its service_role key")
        if problem is not None:
            raise ValueError(f"the key {problem}")
        return key
