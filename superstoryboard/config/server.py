"""Settings of a process that listens."""

from __future__ import annotations

from typing import Self

from pydantic import SecretStr, model_validator

from superstoryboard.auth.interceptor import Authenticator
from superstoryboard.auth.tokens import TokenVerifier
from superstoryboard.config.settings import Port, Settings

LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:")


class ServerSettings(Settings):
    """gRPC address and authentication."""

    grpc_listen: Port
    grpc_reflection: bool = True
    metrics_listen: Port | None = None
    supabase_jwt_secret: SecretStr | None = None
    auth_disabled: bool = False

    @model_validator(mode="after")
    def check_auth(self) -> Self:
        """Authentication is on, or switched off on loopback by an explicit setting."""
        if self.auth_disabled and not self.grpc_listen.startswith(LOOPBACK):
            raise ValueError("AUTH_DISABLED is allowed only where GRPC_LISTEN is a loopback address")
        if not self.auth_disabled and self.supabase_jwt_secret is None:
            raise ValueError("SUPABASE_JWT_SECRET is required (or AUTH_DISABLED=true on loopback)")
        return self

    def authenticator(self) -> Authenticator:
        """The check of callers that these settings ask for."""
        if self.auth_disabled or self.supabase_jwt_secret is None:
            return Authenticator(None)
        return Authenticator(TokenVerifier(self.supabase_jwt_secret.get_secret_value()))
