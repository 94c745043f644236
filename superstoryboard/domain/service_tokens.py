"""Service tokens: what one looks like, what is kept of it, and the names that callers may bear."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

PREFIX = "sst_"
"""Begins every token, so that scanners for secrets find one in a file or a log."""
RANDOM_BYTES = 32
_FORM = re.compile(PREFIX + r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
"""Short enough that no name is a UUID, as users are called."""
SHA256 = re.compile(r"[0-9a-f]{64}")
ROLES = ("service_role", "worker")
RESERVED_OWNERS = frozenset({"sql", "service_role", "local"})
"""Names that the system gives itself: owner of messages that came by plain SQL, a service without a subject, everyone
where authentication is off. No caller may bear one."""
LONGEST_OWNER = 128


class TokensUnreadableError(Exception):
    """The tokens cannot be read now; the message is the reason."""


@dataclass(frozen=True)
class ServiceToken:
    """What is kept of a token: its hash, whose it is, what it may do, and when it ends. Times are in UTC."""

    sha256: str
    name: str
    role: str
    owner: str | None = None
    queues: tuple[str, ...] = ()
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


def new_token() -> str:
    """A token of 256 random bits."""
    return PREFIX + secrets.token_hex(RANDOM_BYTES)


def has_form(token: str) -> bool:
    """Whether a text could be a token."""
    return _FORM.fullmatch(token) is not None


def fingerprint(token: str) -> str:
    """The SHA-256 of a token, by which it is found: nothing is ever compared with the token itself."""
    return hashlib.sha256(token.encode()).hexdigest()


def owner_problem(name: str) -> str | None:
    """Why no owner can be called so, as the end of a sentence; None where one can."""
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST_OWNER or not name.isprintable():
        return f"must be at most {LONGEST_OWNER} printable characters"
    if name in RESERVED_OWNERS:
        return "is a reserved name"
    return None
