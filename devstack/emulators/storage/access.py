"""Who may do what: the secret key everything, the staging key objects of one bucket, the anon key nothing.

Keys are opaque, as `sb_…` keys are, or JWTs signed with the project's secret. Those of role service_role and anon are
the older API keys; with every other role Postgres decides by its policies, as behind the real Storage.
"""

import hmac
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any

from starlette.requests import Request

from .errors import GatewayError, WireError, WrongSignatureError
from .signing import verified_claims


class Role(Enum):
    SERVICE = "service"
    STAGING = "staging"
    ANON = "anon"


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `database_role` is set where the policies of Postgres decide."""

    role: Role | None
    database_role: str | None = None


@dataclass(frozen=True)
class Access:
    """A database role whose policies decide about each object; without one the key itself has decided.

    Where objects are `hidden`, they are missing to whoever reads, and nothing can be written: row-level security
    refuses no reading, it shows no rows.
    """

    database_role: str | None = None
    hidden: bool = False

    def to_read(self) -> str | None:
        """The database role to read with.

        Raises:
            WireError: no object is there for this caller.
        """
        if self.hidden:
            raise WireError.no_such_object()
        return self.database_role

    def to_write(self) -> str | None:
        """The database role to write with.

        Raises:
            WireError: row-level security refuses the new row.
        """
        if self.hidden:
            raise WireError.row_level_security()
        return self.database_role


@dataclass(frozen=True)
class Keys:
    """The API keys this emulator accepts."""

    secret: str
    staging: str | None = None
    anon: str | None = None
    staging_bucket: str = "artifact-staging"
    jwt_secret: str | None = None

    def caller_of(self, key: str) -> Caller | None:
        """Whose key it is, or None where nobody knows it.

        Raises:
            WireError: a JWT of this project that has expired or names no role.
        """
        known = ((self.secret, Role.SERVICE), (self.staging, Role.STAGING), (self.anon, Role.ANON))
        for candidate, role in known:
            if candidate is not None and hmac.compare_digest(candidate.encode(), key.encode()):
                return Caller(role)
        claims = verified_claims(key, self.jwt_secret) if self.jwt_secret is not None else None
        return _caller_of_claims(claims) if claims is not None else None

    def authenticate(self, request: Request) -> Caller:
        """Who sends the request: `apikey` must be an API key, `Authorization` decides where it is there.

        Raises:
            GatewayError: no `apikey`, one that is not known, or a token of an own role in its place.
            WireError: a bearer token that is not of this project.
        """
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        api_key = request.headers.get("apikey", "")
        if not api_key:
            raise GatewayError("No API key found in request")
        caller = self.caller_of(api_key)
        if caller is None or caller.database_role is not None:
            raise GatewayError
        if scheme.lower() == "bearer" and bearer:
            caller = self.caller_of(bearer)
            if caller is None:
                raise WrongSignatureError if bearer.count(".") == 2 else WrongSignatureError("Invalid Compact JWS")
        return caller

    def require_bucket_admin(self, request: Request) -> None:
        """Refuse everyone but the secret key."""
        if self.authenticate(request).role is not Role.SERVICE:
            raise WireError.row_level_security()

    def objects_of(self, request: Request, *bucket_ids: str) -> Access:
        """What the caller may do with objects of these buckets."""
        caller = self.authenticate(request)
        if caller.database_role is not None or caller.role is Role.SERVICE:
            return Access(caller.database_role)
        if caller.role is Role.STAGING and all(bucket == self.staging_bucket for bucket in bucket_ids):
            return Access()
        return Access(hidden=True)


def _caller_of_claims(claims: dict[str, Any]) -> Caller:
    if claims.get("exp", time.time() + 1) <= time.time():
        raise WireError.refused_token('"exp" claim timestamp check failed')
    name = claims.get("role")
    if not isinstance(name, str) or not name:
        raise WireError.refused_token("the token has no role")
    role = {"service_role": Role.SERVICE, "anon": Role.ANON}.get(name)
    return Caller(role, None if role else name)
