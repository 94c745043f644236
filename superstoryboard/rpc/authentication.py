"""Checks the token of every call and keeps the caller for its handler."""

from __future__ import annotations

from contextvars import ContextVar

import grpc

from superstoryboard.config.server import ServerSettings
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.tokens import InvalidTokenError, Principal, Role, TokenVerifier

USER_SERVICES = ("/superstoryboard.v1.GenerationService/",)
LOCAL = Principal("local", Role.SERVICE_ROLE)

_caller: ContextVar[Principal] = ContextVar("caller")


def caller() -> Principal:
    """Who makes the call that is being handled."""
    return _caller.get()


class Authenticator:
    """Decides who calls and whether the method is for them. Without a verifier everyone is trusted: loopback only."""

    def __init__(self, verifier: TokenVerifier | None) -> None:
        self._verifier = verifier

    @classmethod
    def of(cls, settings: ServerSettings) -> Authenticator:
        """The check of callers that the settings ask for."""
        if settings.auth_disabled or settings.supabase_jwt_secret is None:
            return cls(None)
        return cls(TokenVerifier(settings.supabase_jwt_secret.get_secret_value()))

    def admit(self, method: str, metadata: tuple[tuple[str, str | bytes], ...]) -> Principal:
        """The caller of the running call, also for `caller()`.

        Raises:
            ApiError: UNAUTHENTICATED or PERMISSION_DENIED.
        """
        principal = LOCAL if self._verifier is None else self._verify(self._verifier, metadata)
        if not method.startswith(USER_SERVICES) and principal.role is not Role.SERVICE_ROLE:
            raise ApiError(grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", "this call needs the role service_role")
        _caller.set(principal)
        return principal

    @staticmethod
    def _verify(verifier: TokenVerifier, metadata: tuple[tuple[str, str | bytes], ...]) -> Principal:
        headers = [str(value) for key, value in metadata if key == "authorization"]
        if len(headers) > 1:
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED, "TOKEN_AMBIGUOUS", "send the metadata `authorization` only once"
            )
        scheme, _, token = "".join(headers).partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "send the metadata `authorization: Bearer TOKEN`"
            )
        try:
            return verifier.verify(token.strip())
        except InvalidTokenError as error:
            raise ApiError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", str(error)) from None
