"""Who calls: HS256 JWTs with pinned algorithm, `exp`, `aud`, `role` and `sub` (decision 0025)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import jwt

AUDIENCE = "authenticated"
RESERVED_SUBJECTS = frozenset({"sql", "service_role", "local"})
"""Names that the system gives itself: owner of messages that came by plain SQL, a service without a subject, everyone
where authentication is off. No caller may bear one."""
LEEWAY_SECONDS = 30
LONGEST_SUBJECT = 128
LONGEST_REASON = 200
LATEST = 2**53
"""A time that no process will see; a token that ends later ends then."""


class Role(StrEnum):
    """What a caller may do: own jobs, or everything."""

    AUTHENTICATED = "authenticated"
    SERVICE_ROLE = "service_role"


class InvalidTokenError(Exception):
    """The token is missing, expired, of another audience, badly signed, or of a role that may not call."""


@dataclass(frozen=True)
class Principal:
    """A caller: the owner of the jobs it makes, its role, and when its token ends in Unix seconds, if it does."""

    subject: str
    role: Role
    expires_at: float | None = None

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
            expires_at = float(min(int(claims["exp"]), LATEST))
        except jwt.ExpiredSignatureError:
            raise InvalidTokenError("the token has expired") from None
        except jwt.PyJWTError as error:
            raise InvalidTokenError(f"the token is not valid: {error}"[:LONGEST_REASON]) from None
        except (ValueError, TypeError, ArithmeticError, RecursionError):  # claims that no JWT library foresees
            raise InvalidTokenError("the token is not valid") from None
        return Principal(*_identity(claims.get("role"), claims.get("sub")), expires_at)


def _identity(role: object, subject: object) -> tuple[str, Role]:
    try:
        known = Role(str(role))
    except ValueError:
        raise InvalidTokenError("the token's role is not allowed to call this service") from None
    if known is Role.SERVICE_ROLE and (subject is None or subject == ""):
        return Role.SERVICE_ROLE.value, known
    if not isinstance(subject, str) or not subject.strip():
        raise InvalidTokenError("the token's sub is missing or not a string")
    if len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        raise InvalidTokenError(f"the token's sub must be at most {LONGEST_SUBJECT} printable characters")
    if subject in RESERVED_SUBJECTS:
        raise InvalidTokenError("the token's sub is a reserved name")
    return subject, known
