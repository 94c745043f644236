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

from devstack.storage_emulator.errors import GatewayError, WireError
from devstack.storage_emulator.signing import verified_claims


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
        """Who sends the request: `apikey` must be an API key, `Authorization` decides.

        Raises:
            GatewayError: no key, one that is not known, or a token of an own role as `apikey`.
        """
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        api_key = request.headers.get("apikey", "")
        caller = None
        if api_key:
            caller = self.caller_of(api_key)
            if caller is None or caller.database_role is not None:
                raise GatewayError
        if scheme.lower() == "bearer" and bearer:
            caller = self.caller_of(bearer)
        if caller is None:
            raise GatewayError
        return caller

    def require_bucket_admin(self, request: Request) -> None:
        """Refuse everyone but the secret key."""
        if self.authenticate(request).role is not Role.SERVICE:
            raise WireError.row_level_security()

    def require_objects_of(self, request: Request, *bucket_ids: str) -> str | None:
        """Refuse a caller who may not work with objects of these buckets.

        Returns the database role whose policies decide about each object, None where the key itself does.
        """
        caller = self.authenticate(request)
        if caller.database_role is not None or caller.role is Role.SERVICE:
            return caller.database_role
        if caller.role is Role.STAGING and all(bucket == self.staging_bucket for bucket in bucket_ids):
            return None
        raise WireError.row_level_security()


def _caller_of_claims(claims: dict[str, Any]) -> Caller:
    if claims.get("exp", time.time() + 1) <= time.time():
        raise WireError.refused_token('"exp" claim timestamp check failed')
    name = claims.get("role")
    if not isinstance(name, str) or not name:
        raise WireError.refused_token("the token has no role")
    role = {"service_role": Role.SERVICE, "anon": Role.ANON}.get(name)
    return Caller(role, None if role else name)
