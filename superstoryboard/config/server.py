"""Settings of a process that listens."""

from __future__ import annotations

import os
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from superstoryboard.config.addresses import ProjectUrl, PublicUrl
from superstoryboard.config.settings import Port
from superstoryboard.config.tls import TlsSettings

LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:")
SHORTEST_SECRET_BYTES = 32
AUTH_PATH = "/auth/v1"
JWKS_PATH = f"{AUTH_PATH}/.well-known/jwks.json"


class ServerSettings(TlsSettings):
    """gRPC address, authentication, and limits of the server."""

    grpc_listen: Port
    grpc_reflection: bool = True
    metrics_listen: Port | None = None
    supabase_url: ProjectUrl | None = None
    supabase_public_url: PublicUrl | None = None
    supabase_jwks_url: str | None = None
    supabase_jwks_file: str | None = None
    supabase_jwt_secret: SecretStr | None = None
    service_tokens_file: str | None = None
    jwt_issuers: str = ""
    owner_claims: str = "sub"
    allow_anonymous_users: bool = False
    auth_disabled: bool = False
    grpc_max_connections: int = Field(default=2000, ge=1)
    grpc_max_streams: int = Field(default=1000, ge=1)
    grpc_calls_per_token: int = Field(default=512, ge=16)
    grpc_calls_per_address: int = Field(default=1024, ge=16)
    grpc_call_seconds: float = Field(default=60, ge=1)
    grpc_connection_age_seconds: float = Field(default=300, ge=1)
    grpc_connection_grace_seconds: float | None = Field(default=None, ge=1)
    longest_call_seconds: ClassVar[float] = 60
    """Grace of a connection that reached its age, unless it is set."""

    def jwks_url(self) -> str | None:
        """Where the project's public keys are, unless they come from a file; None without a project."""
        if self.supabase_jwks_file:
            return None
        return self.supabase_jwks_url or (f"{self.supabase_url}{JWKS_PATH}" if self.supabase_url else None)

    def issuers(self) -> list[str]:
        """Whose tokens are taken, by their `iss`; empty where nothing says so."""
        if self.jwt_issuers:
            return listed(self.jwt_issuers)
        return [f"{url}{AUTH_PATH}" for url in (self.supabase_url, self.supabase_public_url) if url]

    def owner_claim_paths(self) -> tuple[tuple[str, ...], ...]:
        """The claims that name a caller, each as the path to it."""
        return tuple(tuple(claim.split(".")) for claim in listed(self.owner_claims))

    @field_validator("supabase_jwks_url")
    @classmethod
    def check_jwks_url(cls, url: str | None) -> str | None:
        """A URL that can be asked without a password."""
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good or "@" in parts.netloc or any(character.isspace() for character in url):
            raise ValueError("must be an http or https URL without user name and password")
        return url

    @field_validator("supabase_jwks_file", "service_tokens_file")
    @classmethod
    def check_file(cls, path: str | None) -> str | None:
        """A file that is there."""
        if path is not None and not os.access(path, os.R_OK):
            raise ValueError("the file cannot be read")
        return path

    @field_validator("owner_claims")
    @classmethod
    def check_owner_claims(cls, claims: str) -> str:
        """Claims that users do not write themselves."""
        names = listed(claims)
        if not names or any("" in claim.split(".") for claim in names):
            raise ValueError("must be names of claims, such as sub,app_metadata.user_id")
        if any(claim.split(".")[0] in ("user_metadata", "raw_user_meta_data") for claim in names):
            raise ValueError("user_metadata proves nothing: users write it themselves; use app_metadata")
        return claims

    @field_validator("supabase_jwt_secret")
    @classmethod
    def check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        """A secret that cannot be guessed, and is no public key."""
        if secret is None:
            return None
        value = secret.get_secret_value()
        if len(value.encode()) < SHORTEST_SECRET_BYTES:
            raise ValueError(
                f"SUPABASE_JWT_SECRET is shorter than {SHORTEST_SECRET_BYTES} bytes: it is too easy to guess"
            )
        if value.lstrip().startswith(("-----BEGIN", "{", "ssh-", "ecdsa-")):
            raise ValueError("SUPABASE_JWT_SECRET is a key, not a secret: public keys come from SUPABASE_URL")
        return secret

    @model_validator(mode="after")
    def check_auth(self) -> Self:
        """Authentication is on, or switched off on loopback by an explicit setting."""
        if self.auth_disabled:
            if not self.grpc_listen.startswith(LOOPBACK):
                raise ValueError("AUTH_DISABLED is allowed only where GRPC_LISTEN is a loopback address")
            return self
        if self.supabase_jwks_url and self.supabase_jwks_file:
            raise ValueError("set SUPABASE_JWKS_URL or SUPABASE_JWKS_FILE, not both")
        has_keys = bool(self.supabase_jwks_file or self.jwks_url())
        if has_keys and not self.issuers():
            raise ValueError("SUPABASE_URL or JWT_ISSUERS is required beside the public keys: it says whose tokens")
        if not has_keys and self.supabase_jwt_secret is None:
            raise ValueError(
                "SUPABASE_URL (public keys of users' tokens) or SUPABASE_JWT_SECRET is required"
                " (or AUTH_DISABLED=true on loopback)"
            )
        return self


def listed(text: str) -> list[str]:
    """The entries of a comma-separated setting."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]
