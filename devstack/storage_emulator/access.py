"""Who may do what: the secret key everything, the staging key objects of one bucket, the anon key nothing."""

import hmac
from dataclasses import dataclass
from enum import Enum

from starlette.requests import Request

from devstack.storage_emulator.errors import GatewayError, WireError


class Role(Enum):
    SERVICE = "service"
    STAGING = "staging"
    ANON = "anon"


@dataclass(frozen=True)
class Keys:
    """The API keys this emulator accepts."""

    secret: str
    staging: str | None = None
    anon: str | None = None
    staging_bucket: str = "artifact-staging"

    def role_of(self, key: str) -> Role | None:
        known = ((self.secret, Role.SERVICE), (self.staging, Role.STAGING), (self.anon, Role.ANON))
        for candidate, role in known:
            if candidate is not None and hmac.compare_digest(candidate.encode(), key.encode()):
                return role
        return None

    def authenticate(self, request: Request) -> Role:
        """The role of the request; both headers must carry a known key, `Authorization` decides.

        Raises:
            GatewayError: no key, or one that is not known.
        """
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = [request.headers.get("apikey", ""), bearer if scheme.lower() == "bearer" else ""]
        role = None
        for key in filter(None, given):
            role = self.role_of(key)
            if role is None:
                break
        if role is None:
            raise GatewayError
        return role

    def require_bucket_admin(self, request: Request) -> None:
        """Refuse everyone but the secret key."""
        if self.authenticate(request) is not Role.SERVICE:
            raise WireError.row_level_security()

    def require_objects_of(self, request: Request, *bucket_ids: str) -> None:
        """Refuse a caller who may not work with objects of these buckets."""
        role = self.authenticate(request)
        if role is Role.SERVICE:
            return
        if role is Role.STAGING and all(bucket == self.staging_bucket for bucket in bucket_ids):
            return
        raise WireError.row_level_security()
