"""The real systems that a stack uses instead of its own, one by one as far as the environment names them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

TUNING = (
    "IMAGE_MODEL",
    "VIDEO_MODEL",
    "IMAGE_CONCURRENCY",
    "VIDEO_CONCURRENCY",
    "IMAGE_LEASE_SECONDS",
    "VIDEO_LEASE_SECONDS",
    "VIDEO_POLL_SECONDS",
    "VIDEO_TIMEOUT_SECONDS",
    "VIDEO_GONE_SECONDS",
    "LOST_OPERATION_SEARCH_SECONDS",
    "MAX_ATTEMPTS",
    "IMAGE_REQUESTS_PER_MINUTE",
    "VIDEO_REQUESTS_PER_MINUTE",
    "IMAGE_REQUESTS_PER_DAY",
    "VIDEO_REQUESTS_PER_DAY",
    "VIDEO_RUNNING_OPERATIONS",
    "QUEUE_COMPLETION",
    "KV_TABLE",
    "IMAGES_URL",
    "VIDEOS_URL",
    "SIGNED_URL_SECONDS",
    "SOURCE_URL_ALLOWED_HOSTS",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "GOOGLE_VERTEX_LOCATION",
    "GOOGLE_VERTEX_PROJECT",
    "LOG_LEVEL",
)


class OutsideError(Exception):
    """The environment names a real system, but not all that must be real with it; the message names the settings."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Addresses and keys of real systems. None means: the stack brings its own."""

    database_url: str | None = field(default=None, repr=False)
    database_listen_url: str | None = field(default=None, repr=False)
    amqp_url: str | None = field(default=None, repr=False)
    google_key: str | None = field(default=None, repr=False)
    vertex_key: str | None = field(default=None, repr=False)
    supabase_url: str | None = None
    supabase_public_url: str | None = None
    supabase_secret_key: str | None = field(default=None, repr=False)
    supabase_staging_key: str | None = field(default=None, repr=False)
    supabase_anon_key: str | None = field(default=None, repr=False)
    jwt_secret: str | None = field(default=None, repr=False)
    tuning: Mapping[str, str] = field(default_factory=dict)
    """Settings without secrets that are passed on to the services."""

    def __post_init__(self) -> None:
        """Jobs of a real database get real pictures only, and links that lead to a real Storage."""
        real = {"Google": self.google_key, "Storage": self.supabase_url}
        emulated = [name for name, setting in real.items() if not setting]
        if self.database_url and emulated:
            raise OutsideError(
                f"DATABASE_URL names an outside database, but {' and '.join(emulated)} would be emulated: the jobs that"
                " wait there would get emulated images, or URLs of this machine. Set GOOGLE_GENERATIVE_AI_API_KEY"
                " and SUPABASE_URL with SUPABASE_SECRET_KEY too, or leave DATABASE_URL out: the stack has its own."
            )

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What the environment names.

        Raises:
            OutsideError: SUPABASE_URL is set without a secret key, or a real database beside an emulator.
        """
        present = {name: value for name, value in environment.items() if value}
        keys = ("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SERVICE_KEY")
        secret_key = next((present[name] for name in keys if name in present), None)
        supabase_url = present.get("SUPABASE_URL")
        if supabase_url and not secret_key:
            raise OutsideError("SUPABASE_URL is set: SUPABASE_SECRET_KEY must be set too")
        return cls(
            database_url=present.get("DATABASE_URL"),
            database_listen_url=present.get("DATABASE_LISTEN_URL"),
            amqp_url=present.get("AMQP_URL"),
            google_key=present.get("GOOGLE_GENERATIVE_AI_API_KEY"),
            vertex_key=present.get("GOOGLE_VERTEX_API_KEY"),
            supabase_url=supabase_url,
            supabase_public_url=present.get("SUPABASE_PUBLIC_URL"),
            supabase_secret_key=secret_key,
            supabase_staging_key=present.get("SUPABASE_STAGING_KEY") or secret_key,
            supabase_anon_key=present.get("SUPABASE_ANON_KEY") or present.get("SUPABASE_PUBLISHABLE_KEY"),
            jwt_secret=present.get("SUPABASE_JWT_SECRET"),
            tuning={name: present[name] for name in TUNING if name in present},
        )
