"""The forms of key that a Supabase project has, and the headers each is sent in. No key is verified here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

import jwt

STAGING_ROLE = "superstoryboard_staging"
_SERVICE_ROLE = "service_role"
_PUBLIC_ROLES = frozenset({"anon", "authenticated"})
_DAY_SECONDS = 86_400


class KeyForm(StrEnum):
    """What a key looks like. `sb_…` keys are opaque: the gateway turns them into a role, nobody decodes them."""

    SECRET = "sb_secret"  # noqa: S105 - how such keys begin
    PUBLISHABLE = "sb_publishable"
    JWT = "jwt"
    OTHER = "other"


@dataclass(frozen=True)
class Key:
    """Form of a key; of a JWT also what it says of itself (`expires_at` in Unix seconds)."""

    form: KeyForm
    role: str | None = None
    expires_at: float | None = None

    @classmethod
    def read(cls, key: str) -> Key:
        """Look at a key without checking its signature."""
        for form in (KeyForm.SECRET, KeyForm.PUBLISHABLE):
            if key.startswith(f"{form}_"):
                return cls(form)
        try:
            claims = jwt.decode(key, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return cls(KeyForm.OTHER)
        role, expires = claims.get("role"), claims.get("exp")
        return cls(
            KeyForm.JWT,
            role if isinstance(role, str) else None,
            float(expires) if isinstance(expires, int | float) else None,
        )

    @property
    def reaches_everything(self) -> bool:
        """True for keys that row-level security does not bind."""
        return self.form is KeyForm.SECRET or self.role == _SERVICE_ROLE

    @property
    def public(self) -> bool:
        """True for keys that browsers hold: with them nothing of ours can be written."""
        return self.form is KeyForm.PUBLISHABLE or self.role in _PUBLIC_ROLES

    @property
    def own_role(self) -> bool:
        """True for a JWT minted for a role of its own: it is no API key, and the gateway does not take it as one."""
        return self.form is KeyForm.JWT and not self.reaches_everything and not self.public


def key_headers(key: str, api_key: str | None = None) -> dict[str, str]:
    """Headers that carry a key: both `apikey` and `Authorization`, as Supabase's own clients send `sb_…` keys too.

    A JWT of an own role goes into `Authorization` alone. `apikey` is then the project's publishable or anon key,
    without which a hosted project's gateway refuses the call.
    """
    headers = {"Authorization": f"Bearer {key}"}
    known = api_key if Key.read(key).own_role else key
    return headers | ({"apikey": known} if known else {})


def key_problem(key: str, remedy: str, *, now: float | None = None) -> str | None:
    """Why a key can never do our work, as the end of a sentence; None where only Storage can tell.

    Args:
        key: the key.
        remedy: what to set instead.
        now: Unix seconds; default the present.
    """
    facts = Key.read(key)
    if not key.isascii() or not key.isprintable() or " " in key:
        return f"contains invalid characters; set {remedy}"
    if facts.public:
        return f"is a publishable or anon key, which cannot write; set {remedy}"
    if facts.form is KeyForm.JWT and facts.role is None:
        return f"is a token without a role, which Storage rejects; set {remedy}"
    if facts.expires_at is not None and facts.expires_at <= (time.time() if now is None else now):
        return f"has expired; set {remedy}"
    return None


def staging_warnings(key: str, api_key: str | None, *, now: float | None = None) -> list[str]:
    """What is not as it should be with a staging key that works, one sentence each."""
    facts = Key.read(key)
    warnings = []
    if facts.reaches_everything:
        warnings.append("This key can write every bucket and table: create a staging key (docs/STAGING-KEY.md)")
    if facts.own_role and api_key is None:
        warnings.append("A hosted project also needs its publishable key with the staging key: set SUPABASE_ANON_KEY")
    if facts.expires_at is not None:
        days = (facts.expires_at - (time.time() if now is None else now)) / _DAY_SECONDS
        if days < 30:
            warnings.append(f"The staging key expires in {max(0, int(days))} days: create a new one")
    return warnings
