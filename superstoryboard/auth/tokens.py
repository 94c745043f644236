"""Who calls: HS256 JWTs with pinned algorithm, `exp`, `aud`, `role` and `sub` (DESIGN section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import jwt

AUDIENCE = "authenticated"
RESERVED_SUBJECTS = frozenset({"sql"})
"""Owner of messages that came by plain SQL: no caller may bear its name."""
LEEWAY_SECONDS = 30


class Role(StrEnum):
    """What a caller may do: own jobs, or everything."""

    AUTHENTICATED = "authenticated"
    SERVICE_ROLE = "service_role"


class InvalidTokenError(Exception):
    """The token is missing, expired, of another audience, badly signed, or of a role that may not call."""


@dataclass(frozen=True)
class Principal:
    """A caller: the owner of the jobs it makes, and its role."""

    subject: str
    role: Role

    @property
    def visible_owner(self) -> str | None:
        """Whose jobs it sees: its own, or None for everyone's."""
        return None if self.role is Role.SERVICE_ROLE else self.subject


class TokenVerifier:
    """Verifies tokens that are signed with the shared secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def verify(self, token: str) -> Principal:
        """The caller behind a token.

        Raises:
            InvalidTokenError: with a reason that is safe to tell the caller.
        """
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                audience=AUDIENCE,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise InvalidTokenError("the token has expired") from None
        except jwt.PyJWTError as error:
            raise InvalidTokenError(f"the token is not valid: {error}") from None
        return _principal(claims.get("role"), claims.get("sub"))


def _principal(role: object, subject: object) -> Principal:
    try:
        known = Role(str(role))
    except ValueError:
        raise InvalidTokenError("the token's role may not call this service") from None
    if known is Role.SERVICE_ROLE and not subject:
        subject = Role.SERVICE_ROLE.value
    if not isinstance(subject, str) or not subject or subject in RESERVED_SUBJECTS:
        raise InvalidTokenError("the token has no usable sub")
    return Principal(subject, known)
