"""The environment of each process: exactly what its security context may hold (decision 0001), nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .certificates import StackTls
from .outside import Outside
from .ports import Ports
from .program import base_env
from .tokens import Secrets

SERVICES = ("ingest", "image_worker", "video_worker", "asset_writer")
# Each connection is a Postgres process of some megabytes; only ingest serves many callers at once.
FEW_CONNECTIONS = {"DATABASE_POOL_SIZE": "4"}
FAST = {"IMAGE_LEASE_SECONDS": "10", "VIDEO_LEASE_SECONDS": "10", "STAGING_PATIENCE_SECONDS": "5"}
FAST_PROVIDER = {
    "VIDEO_POLL_SECONDS": "1",
    "VIDEO_GONE_SECONDS": "10",
    "LOST_OPERATION_SEARCH_SECONDS": "15",
    "IMAGE_REQUESTS_PER_MINUTE": "6000",
    "VIDEO_REQUESTS_PER_MINUTE": "6000",
    "VIDEO_RUNNING_OPERATIONS": "0",
}


@dataclass(frozen=True, kw_only=True)
class Environments:
    """What the parts of a stack know of each other."""

    ports: Ports
    secrets: Secrets
    outside: Outside
    database_url: str = field(repr=False)
    amqp_url: str | None = field(repr=False)
    tls: StackTls | None = None
    """Certificates of the gRPC ports; None means plaintext."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings without secrets that a caller gives every service; they win."""

    @property
    def google_url(self) -> str | None:
        """The emulator's address, or None where the real service is used."""
        return None if self.outside.google_key else f"http://{self.ports.address('google')}"

    @property
    def storage_url(self) -> str:
        """Where Storage is."""
        return self.outside.supabase_url or f"http://{self.ports.address('storage')}"

    def of(self, service: str) -> dict[str, str]:
        """The whole environment of a service."""
        special = {
            "ingest": dict[str, str],
            "image_worker": self._worker,
            "video_worker": self._video_worker,
            "asset_writer": self._asset_writer,
        }[service]()
        return base_env() | self._common(service) | special | self._tuning()

    def _common(self, service: str) -> dict[str, str]:
        listen_url = self.outside.database_listen_url
        if self.outside.database_url is None:
            listen_url = self.database_url
        return {
            "DATABASE_URL": self.database_url,
            "DATABASE_LISTEN_URL": listen_url or "",
            "GRPC_LISTEN": self.ports.address(service),
            "SUPABASE_URL": self.storage_url,
            "SUPABASE_PUBLIC_URL": self.outside.supabase_public_url or "",
            "HEALTH_LISTEN": self.ports.health_address(service),
            "SUPABASE_JWT_SECRET": self.secrets.jwt,
        } | (self.tls.server_settings() if self.tls else {})

    def _worker(self) -> dict[str, str]:
        known = (
            FEW_CONNECTIONS
            | self._broker()
            | {
                "SUPABASE_STAGING_KEY": self.outside.supabase_staging_key or self.secrets.storage_staging_key,
                "GOOGLE_GENERATIVE_AI_API_KEY": self.outside.google_key or self.secrets.google_key,
            }
        )
        if self.outside.supabase_anon_key:
            known["SUPABASE_ANON_KEY"] = self.outside.supabase_anon_key
        return known | ({"GOOGLE_GEMINI_BASE_URL": self.google_url} if self.google_url else {})

    def _video_worker(self) -> dict[str, str]:
        if self.google_url:
            vertex = {"GOOGLE_VERTEX_BASE_URL": self.google_url, "GOOGLE_VERTEX_API_KEY": self.secrets.google_key}
        else:
            vertex = {"GOOGLE_VERTEX_API_KEY": self.outside.vertex_key or ""}
        return self._worker() | vertex

    def _asset_writer(self) -> dict[str, str]:
        return (
            FEW_CONNECTIONS
            | self._broker()
            | {"SUPABASE_SECRET_KEY": self.outside.supabase_secret_key or self.secrets.storage_secret_key}
        )

    def _broker(self) -> dict[str, str]:
        return {"AMQP_URL": self.amqp_url or ""}

    def _tuning(self) -> dict[str, str]:
        fast = FAST if self.outside.google_key else FAST | FAST_PROVIDER
        given = dict(self.outside.tuning)
        if self.google_url:
            given = {name: value for name, value in given.items() if not name.startswith("GOOGLE_")}
        return {**fast, **given, **self.settings}
