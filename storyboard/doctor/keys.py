"""What a key or token tells about itself. Nothing is verified here: the other side does that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

SOON = timedelta(days=7)


@dataclass(frozen=True)
class Token:
    """Claims of a JWT; `role` and `issuer` are empty and `expires` None where it has none."""

    role: str
    expires: datetime | None
    issuer: str = ""

    @property
    def expired(self) -> bool:
        """Whether its time has passed."""
        return self.expires is not None and self.expires <= datetime.now(UTC)

    @property
    def expires_soon(self) -> bool:
        """Whether its time passes within a week."""
        return self.expires is not None and self.expires <= datetime.now(UTC) + SOON

    @property
    def expiry(self) -> str:
        """The end of a sentence."""
        if self.expires is None:
            return "without an expiry"
        word = "expired" if self.expired else "expires"
        return f"{word} {self.expires:%Y-%m-%d %H:%MZ}"


def read_token(text: str) -> Token | None:
    """The claims of a JWT; None for anything else."""
    try:
        claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    seconds = claims.get("exp")
    expires = _time(seconds) if isinstance(seconds, int | float) else None
    return Token(str(claims.get("role") or ""), expires, str(claims.get("iss") or ""))


def _time(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def describe_storage_key(key: str) -> str:
    """The sort of a Supabase key, such as `new secret key` or `JWT of role service_role` with its expiry."""
    for prefix, words in (("sb_secret_", "new secret key"), ("sb_publishable_", "publishable key")):
        if key.startswith(prefix):
            return words
    token = read_token(key)
    return f"JWT of role {token.role or '(none)'}, {token.expiry}" if token else "opaque key"
