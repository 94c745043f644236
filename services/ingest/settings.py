"""Settings of ingest: it holds no provider key, no storage key, and a broker only where it pushes events."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, SecretStr, field_validator

from superstoryboard.config.server import listed
from superstoryboard.config.settings import Identifier, Port
from superstoryboard.jobs.storyboards import OwnerSettings
from superstoryboard.jobs.sweeps import Ages
from superstoryboard.providers.settings import ModelSettings

MOST_OWNER_FIELDS = 16
MAX_AGE_DAYS = 36_500
"""A century: what is said to be kept for ever is, and the database can still count back to it."""


class IngestSettings(ModelSettings):
    """Ingest."""

    grpc_listen: Port = "127.0.0.1:50051"
    events_amqp_url: SecretStr | None = None
    image_model: str = ""
    video_model: str = ""
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    kv_table: Identifier = "kv_store_7ee7668a"
    staging_bucket: str = "artifact-staging"
    owner_fields: str = "userId,user_id,ownerId,owner"
    shared_storyboards: str = "test-storyboard"
    watches_per_owner: int = Field(default=64, ge=1)
    drain_seconds: float = Field(default=10, ge=0)
    job_max_age_days: float = Field(default=7, gt=0, le=MAX_AGE_DAYS)
    retention_events_days: float = Field(default=30, gt=0, le=MAX_AGE_DAYS)
    retention_jobs_days: float = Field(default=400, gt=0, le=MAX_AGE_DAYS)
    retention_archive_days: float = Field(default=90, gt=0, le=MAX_AGE_DAYS)
    retention_dead_letters_days: float | None = Field(default=None, gt=0, le=MAX_AGE_DAYS)

    @field_validator("owner_fields")
    @classmethod
    def check_owner_fields(cls, fields: str) -> str:
        """Names, each once."""
        names = listed(fields)
        if not names or len(names) > MOST_OWNER_FIELDS or len(set(names)) < len(names):
            raise ValueError(f"must be 1 to {MOST_OWNER_FIELDS} names of fields, such as userId,owner")
        return fields

    def owners(self) -> OwnerSettings:
        """By what the database finds the owners of storyboards."""
        return OwnerSettings(
            kv_table=self.kv_table,
            fields=tuple(listed(self.owner_fields)),
            claims=tuple(".".join(path) for path in self.owner_claim_paths()),
            shared=tuple(listed(self.shared_storyboards)),
            anonymous_users=self.allow_anonymous_users,
        )

    def ages(self) -> Ages:
        """After how long the sweep deletes what has ended and gives up what has not."""
        dead_letters = self.retention_dead_letters_days
        return Ages(
            job_max_age=timedelta(days=self.job_max_age_days),
            events=timedelta(days=self.retention_events_days),
            jobs=timedelta(days=self.retention_jobs_days),
            archives=timedelta(days=self.retention_archive_days),
            dead_letters=None if dead_letters is None else timedelta(days=dead_letters),
        )
