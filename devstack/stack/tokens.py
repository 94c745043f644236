"""Secrets of one run of the stack, and tokens signed with them."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

AUDIENCE = "authenticated"
LIFE_SECONDS = 30 * 24 * 3600


def _new() -> str:
    return secrets.token_urlsafe(32)


def _claims(subject: str, role: str, issuer: str | None) -> dict[str, Any]:
    now = int(time.time())
    claims = {"sub": subject, "role": role, "aud": AUDIENCE, "iat": now, "exp": now + LIFE_SECONDS}
    return claims | ({"iss": issuer} if issuer else {})


@dataclass(frozen=True)
class SigningKey:
    """A key of the project's Auth, new with each instance: ES256, as new projects of Supabase sign."""

    kid: str = field(default_factory=lambda: str(uuid.uuid4()))
    private: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    @property
    def published(self) -> dict[str, Any]:
        """The public half as Auth publishes it."""
        numbers: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key()))
        return numbers | {"kid": self.kid, "alg": "ES256", "use": "sig", "key_ops": ["verify"], "ext": True}

    def sign(self, claims: dict[str, Any]) -> str:
        """A JWT with these claims."""
        return jwt.encode(claims, self.private, algorithm="ES256", headers={"kid": self.kid})


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """One secret per security context, new at each run unless given."""

    jwt: str = field(default_factory=_new, repr=False)
    auth_key: SigningKey = field(default_factory=SigningKey, repr=False)
    google_key: str = field(default_factory=_new, repr=False)
    storage_secret_key: str = field(default_factory=_new, repr=False)
    storage_staging_key: str = field(default_factory=_new, repr=False)
    storage_anon_key: str = field(default_factory=_new, repr=False)

    def token(self, subject: str, role: str = "authenticated", issuer: str | None = None) -> str:
        """A bearer token for the gRPC services signed with the shared secret, valid for 30 days."""
        return jwt.encode(_claims(subject, role, issuer), self.jwt, algorithm="HS256")

    def session(self, subject: str, issuer: str) -> str:
        """The access token of a user's session as Auth signs it; valid for 30 days, which real ones are not."""
        session = {
            "session_id": str(uuid.uuid4()),
            "is_anonymous": False,
            "aal": "aal1",
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "user_metadata": {},
        }
        return self.auth_key.sign(_claims(subject, AUDIENCE, issuer) | session)
