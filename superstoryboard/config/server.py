"""Settings of a process that listens."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from superstoryboard.config.settings import Port
from superstoryboard.config.tls import TlsSettings

LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:")
SHORTEST_SECRET_BYTES = 32


class ServerSettings(TlsSettings):
    """gRPC address, authentication, and limits of the server."""

    grpc_listen: Port
    grpc_reflection: bool = True
    metrics_listen: Port | None = None
    supabase_jwt_secret: SecretStr | None = None
    auth_disabled: bool = False
    grpc_max_connections: int = Field(default=2000, ge=1)
    grpc_max_streams: int = Field(default=1000, ge=1)
    grpc_calls_per_token: int = Field(default=512, ge=16)
    grpc_call_seconds: float = Field(default=60, ge=1)
    grpc_connection_age_seconds: float = Field(default=300, ge=1)
    grpc_connection_grace_seconds: float | None = Field(default=None, ge=1)
    longest_call_seconds: ClassVar[float] = 60
    """Grace of a connection that reached its age, unless it is set."""

    @model_validator(mode="after")
    def check_auth(self) -> Self:
        """Authentication is on, or switched off on loopback by an explicit setting."""
        if self.auth_disabled and not self.grpc_listen.startswith(LOOPBACK):
            raise ValueError("AUTH_DISABLED is allowed only where GRPC_LISTEN is a loopback address")
        secret = self.supabase_jwt_secret
        if secret is not None and len(secret.get_secret_value().encode()) < SHORTEST_SECRET_BYTES:
            raise ValueError(
                f"SUPABASE_JWT_SECRET is shorter than {SHORTEST_SECRET_BYTES} bytes: it is too easy to guess"
            )
        if not self.auth_disabled and secret is None:
            raise ValueError("SUPABASE_JWT_SECRET is required (or AUTH_DISABLED=true on loopback)")
        return self
