"""What the claims of a JWT must be once its signature is good, and who is meant by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from superstoryboard.config.server import ServerSettings
from superstoryboard.domain.service_tokens import owner_problem
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.tokens import Principal, Role

JWT_ROLES = frozenset({Role.AUTHENTICATED, Role.SERVICE_ROLE})
"""An outside worker has a service token, never a JWT."""
MOST_IDENTITIES = 32
LATEST = 2**53
"""A time that no process will see; a token that ends later ends then."""
API_KEY_ISSUERS = frozenset({"supabase", "supabase-demo"})
"""`iss` of the API keys anon and service_role that are JWTs: hosted projects, and Supabase's examples."""


@dataclass(frozen=True)
class ClaimRules:
    """Which claims a caller may bear. Without issuers, `iss` is not looked at."""

    issuers: frozenset[str] = frozenset()
    issuer_required: bool = False
    """Also of tokens that are signed with the shared secret. Those of public keys always need one."""
    owner_claims: tuple[tuple[str, ...], ...] = (("sub",),)
    anonymous_allowed: bool = False

    @classmethod
    def of(cls, settings: ServerSettings) -> ClaimRules:
        """The rules that the settings ask for."""
        return cls(
            issuers=frozenset(settings.issuers()),
            issuer_required=bool(settings.jwt_issuers),
            owner_claims=settings.owner_claim_paths(),
            anonymous_allowed=settings.allow_anonymous_users,
        )

    def principal(self, claims: Mapping[str, Any], *, by_secret: bool) -> Principal:
        """The caller; `exp`, `nbf`, `iat` and `aud` are checked already. `by_secret`: signed with the shared secret.

        Raises:
            ApiError: a claim is refused.
        """
        if is_api_key(claims):
            refuse_api_key()
        self._check_issuer(claims.get("iss"), needed=self.issuer_required or not by_secret)
        role = _role(claims.get("role"))
        subject = _subject(claims.get("sub"), role)
        # Whatever is not plainly no is yes: a claim of another type must not open a door.
        anonymous = claims.get("is_anonymous") not in (None, False)
        if anonymous and not self.anonymous_allowed:
            raise ApiError(
                grpc.StatusCode.PERMISSION_DENIED,
                "ANONYMOUS_REFUSED",
                "anonymous users may not call this service; sign in with an account",
            )
        expires_at = float(min(int(claims["exp"]), LATEST))
        return Principal(subject, role, expires_at, self._identities(claims, subject, role), anonymous)

    def _check_issuer(self, issuer: object, *, needed: bool) -> None:
        if not self.issuers or (issuer is None and not needed):
            return
        if not isinstance(issuer, str) or issuer not in self.issuers:
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED,
                "TOKEN_ISSUER_REFUSED",
                "the token's iss is not the Auth of this service's project; sign in to that project",
            )

    def _identities(self, claims: Mapping[str, Any], subject: str, role: Role) -> tuple[str, ...]:
        if role is Role.SERVICE_ROLE:
            return (subject,)
        identities = dict.fromkeys(
            _checked_name(value, ".".join(path)) for path in self.owner_claims for value in _values(claims, path)
        )
        if len(identities) > MOST_IDENTITIES:
            _invalid(f"the token's owner claims must have at most {MOST_IDENTITIES} values")
        return tuple(identities)


def is_api_key(claims: object) -> bool:
    """Whether these are the claims of a project's legacy API key."""
    if not isinstance(claims, Mapping):
        return False
    issuer = claims.get("iss")
    return isinstance(issuer, str) and issuer in API_KEY_ISSUERS


def refuse_api_key() -> NoReturn:
    """Refuse an API key of the project.

    Raises:
        ApiError: always.
    """
    raise ApiError(
        grpc.StatusCode.UNAUTHENTICATED,
        "TOKEN_API_KEY",
        "this is an API key of the Supabase project, which is no caller here; users send the access token of their"
        " session, backends a service token",
    )


def _role(role: object) -> Role:
    if not isinstance(role, str) or role not in JWT_ROLES:
        raise ApiError(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_ROLE_REFUSED",
            "the token's role is not allowed to call this service; it must be authenticated or service_role",
        )
    return Role(role)


def _subject(subject: object, role: Role) -> str:
    if role is Role.SERVICE_ROLE and (subject is None or subject == ""):
        return Role.SERVICE_ROLE.value
    return _checked_name(subject, "sub")


def _checked_name(value: object, claim: str) -> str:
    if not isinstance(value, str) or not value.strip():
        _invalid(f"the token's {claim} is missing or not a string")
    if (problem := owner_problem(value)) is not None:
        _invalid(f"the token's {claim} {problem}")
    return value


def _values(claims: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[object]:
    """What a dotted claim holds: nothing where it is absent or null, each element of a list."""
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def _invalid(message: str) -> NoReturn:
    raise ApiError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", message)
