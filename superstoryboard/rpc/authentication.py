"""Checks the token of every call and keeps the caller for its handler."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

import grpc

from superstoryboard.config.server import ServerSettings
from superstoryboard.rpc.claims import ClaimRules, refuse_api_key
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.jwts import JwtVerifier
from superstoryboard.rpc.key_refresh import TokenKeys
from superstoryboard.rpc.key_sources import KeyFile, KeySource, KeyUrl
from superstoryboard.rpc.tokens import Principal, Role, Verifier
from superstoryboard.telemetry.key_metrics import TokenKeyMetrics

USER_SERVICES = ("/superstoryboard.v1.GenerationService/",)
API_KEYS = ("sb_publishable_", "sb_secret_")
LOCAL = Principal("local", Role.SERVICE_ROLE, identities=("local",))

_caller: ContextVar[Principal] = ContextVar("caller")


def caller() -> Principal:
    """Who makes the call that is being handled."""
    return _caller.get()


class Authenticator:
    """Decides who calls and whether the method is for them. Without verifiers everyone is trusted: loopback only.

    Each verifier takes tokens of one shape; the first that takes a token decides.
    """

    def __init__(self, verifiers: Sequence[Verifier], keys: TokenKeys | None = None) -> None:
        self._verifiers = tuple(verifiers)
        self._keys = keys

    @classmethod
    def of(cls, settings: ServerSettings, metrics: TokenKeyMetrics | None = None) -> Authenticator:
        """The check of callers that the settings ask for."""
        if settings.auth_disabled:
            return cls(())
        source = _key_source(settings)
        keys = TokenKeys(source, metrics) if source else None
        secret = settings.supabase_jwt_secret.get_secret_value() if settings.supabase_jwt_secret else None
        return cls([JwtVerifier(ClaimRules.of(settings), secret, keys)], keys)

    async def prepare(self) -> None:
        """Try once to read what tokens are checked with; a process starts without it too."""
        if self._keys is not None:
            await self._keys.refresh()

    async def run(self) -> None:
        """Keep that fresh; ends at once where there is nothing to keep."""
        if self._keys is not None:
            await self._keys.run()

    def admit(self, method: str, metadata: tuple[tuple[str, str | bytes], ...]) -> Principal:
        """The caller of the running call, also for `caller()`.

        Raises:
            ApiError: UNAUTHENTICATED, PERMISSION_DENIED, or UNAVAILABLE while tokens cannot be checked.
        """
        principal = self._verify(_bearer(metadata)) if self._verifiers else LOCAL
        if not method.startswith(USER_SERVICES) and principal.role is not Role.SERVICE_ROLE:
            raise ApiError(grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", "this call needs the role service_role")
        _caller.set(principal)
        return principal

    def _verify(self, token: str) -> Principal:
        if token.startswith(API_KEYS):
            refuse_api_key()
        for verifier in self._verifiers:
            if verifier.takes(token):
                return verifier.verify(token)
        raise ApiError(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_INVALID",
            "the token is not valid: it is of no sort that this service knows",
        )


def _bearer(metadata: tuple[tuple[str, str | bytes], ...]) -> str:
    headers = [str(value) for key, value in metadata if key == "authorization"]
    if len(headers) > 1:
        raise ApiError(
            grpc.StatusCode.UNAUTHENTICATED, "TOKEN_AMBIGUOUS", "send the metadata `authorization` only once"
        )
    scheme, _, token = "".join(headers).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(
            grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "send the metadata `authorization: Bearer TOKEN`"
        )
    return token.strip()


def _key_source(settings: ServerSettings) -> KeySource | None:
    if settings.supabase_jwks_file:
        return KeyFile(Path(settings.supabase_jwks_file))
    url = settings.jwks_url()
    return KeyUrl(url) if url else None
