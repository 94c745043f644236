"""Checks the token of every call and keeps the caller for its handler."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from superstoryboard.config.server import ServerSettings
from superstoryboard.db.notify import TOKENS_CHANNEL, Wakeups
from superstoryboard.rpc.claims import ClaimRules, refuse_api_key
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.jwts import JwtVerifier
from superstoryboard.rpc.key_refresh import TokenKeys
from superstoryboard.rpc.key_sources import KeyFile, KeySource, KeyUrl
from superstoryboard.rpc.permissions import seen_by
from superstoryboard.rpc.service_tokens import ServiceTokenVerifier, acting_for
from superstoryboard.rpc.token_copy import TokenCopy, TokenTable
from superstoryboard.rpc.token_ends import until_token_ends
from superstoryboard.rpc.token_file import TokenFile
from superstoryboard.rpc.tokens import Principal, Role, Verifier
from superstoryboard.telemetry.key_metrics import ServiceTokenMetrics, TokenKeyMetrics

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

    def __init__(
        self, verifiers: Sequence[Verifier], keys: TokenKeys | None = None, tokens: TokenCopy | None = None
    ) -> None:
        self._verifiers = tuple(verifiers)
        self._keys = keys
        self._tokens = tokens

    @classmethod
    def of(cls, settings: ServerSettings, table: TokenTable, registry: CollectorRegistry) -> Authenticator:
        """The check of callers that the settings ask for; `table` keeps the service tokens."""
        key_metrics, token_metrics = TokenKeyMetrics(registry), ServiceTokenMetrics(registry)
        if settings.auth_disabled:
            return cls(())
        source = _key_source(settings)
        keys = TokenKeys(source, key_metrics) if source else None
        secret = settings.supabase_jwt_secret.get_secret_value() if settings.supabase_jwt_secret else None
        file = TokenFile(Path(settings.service_tokens_file)) if settings.service_tokens_file else None
        tokens = TokenCopy(table, Wakeups(settings.listen_url(), TOKENS_CHANNEL), file, token_metrics)
        jwts = JwtVerifier(ClaimRules.of(settings), secret, keys)
        return cls([ServiceTokenVerifier(tokens), jwts], keys, tokens)

    async def prepare(self) -> None:
        """Try once to read what tokens are checked with; a process starts without it too.

        Raises:
            OSError: the file of service tokens is not one.
        """
        reads = [self._keys.refresh()] if self._keys else []
        if self._tokens is not None:
            reads.append(self._tokens.prepare())
        await asyncio.gather(*reads)

    def duties(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What keeps that fresh, for ever, each with its name."""
        if self._keys is not None:
            yield "token-keys", self._keys.run()
        if self._tokens is not None:
            yield "service-tokens", self._tokens.run()
            yield "token-wakeups", self._tokens.listen()

    def until_token_ends(self, principal: Principal) -> AbstractAsyncContextManager[None]:
        """Run a block for as long as the caller's token is good; see `token_ends`."""
        return until_token_ends(principal, self._tokens.ends if self._tokens else None)

    def admit(self, method: str, metadata: tuple[tuple[str, str | bytes], ...]) -> Principal:
        """The caller of the running call, also for `caller()`.

        Raises:
            ApiError: UNAUTHENTICATED, PERMISSION_DENIED, or UNAVAILABLE while tokens cannot be checked.
        """
        principal = acting_for(self._verify(_bearer(metadata)) if self._verifiers else LOCAL, metadata)
        principal = replace(principal, sees=seen_by(method, principal))
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
