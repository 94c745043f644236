"""Secrets of one run of the stack, and tokens signed with them."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

import jwt

AUDIENCE = "authenticated"
LIFE_SECONDS = 30 * 24 * 3600


def _new() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """One secret per security context, new at each run unless given."""

    jwt: str = field(default_factory=_new, repr=False)
    google_key: str = field(default_factory=_new, repr=False)
    storage_secret_key: str = field(default_factory=_new, repr=False)
    storage_staging_key: str = field(default_factory=_new, repr=False)
    storage_anon_key: str = field(default_factory=_new, repr=False)

    def token(self, subject: str, role: str = "authenticated") -> str:
        """A bearer token for the gRPC services, valid for 30 days."""
        claims = {"sub": subject, "role": role, "aud": AUDIENCE, "exp": int(time.time()) + LIFE_SECONDS}
        return jwt.encode(claims, self.jwt, algorithm="HS256")
