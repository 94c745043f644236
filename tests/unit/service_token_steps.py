"""Service tokens for tests of what is taken: a place that keeps them, the copy of a process, and its check."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from superstoryboard.db.notify import TOKENS_CHANNEL, Wakeups
from superstoryboard.domain.service_tokens import (
    PREFIX,
    ServiceToken,
    TokensUnreadableError,
    fingerprint,
    new_token,
)
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.jwts import JwtVerifier
from superstoryboard.rpc.service_tokens import ServiceTokenVerifier
from superstoryboard.rpc.token_copy import TokenCopy
from superstoryboard.rpc.token_file import TokenFile
from superstoryboard.rpc.tokens import Principal
from tests.unit.token_steps import RULES, SECRET

GENERATION = "/superstoryboard.v1.GenerationService/ListJobs"
SOON = datetime.now(UTC) + timedelta(hours=1)
PAST = datetime.now(UTC) - timedelta(hours=1)
SECRETS = {name: new_token() for name in ("backend", "shop", "outside", "gone", "old")}


def kept(name: str, role: str = "service_role", **changes: object) -> ServiceToken:
    return ServiceToken(fingerprint(SECRETS[name]), name, role, **changes)  # type: ignore[arg-type]


TOKENS = [
    kept("backend", expires_at=SOON),
    kept("shop", owner="alice"),
    kept("outside", "worker", queues=("image_generation_queue",)),
    kept("gone", revoked_at=PAST),
    kept("old", expires_at=PAST),
]


class Memory:
    """A place that keeps tokens, which may be away."""

    def __init__(self, *tokens: ServiceToken) -> None:
        self.tokens = list(tokens)
        self.away = False
        self.reads = 0
        self.noted: list[set[str]] = []

    async def read(self) -> list[ServiceToken]:
        self.reads += 1
        if self.away:
            raise TokensUnreadableError("away")
        return list(self.tokens)

    async def note_used(self, sha256s: Collection[str]) -> None:
        if self.away:
            raise TokensUnreadableError("away")
        self.noted.append(set(sha256s))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def copy_of(table: Memory, clock: Clock | None = None, file: Path | None = None) -> TokenCopy:
    wakeups = Wakeups(None, TOKENS_CHANNEL)
    return TokenCopy(table, wakeups, TokenFile(file) if file else None, clock=clock or Clock())


async def checked(table: Memory | None = None, clock: Clock | None = None) -> Authenticator:
    copy = copy_of(table or Memory(*TOKENS), clock)
    who = Authenticator([ServiceTokenVerifier(copy), JwtVerifier(RULES, SECRET)], None, copy)
    await who.prepare()
    return who


def admit(who: Authenticator, token: str, *owners: str, method: str = GENERATION) -> Principal:
    return who.admit(method, (("authorization", f"Bearer {token}"), *(("on_behalf_of", owner) for owner in owners)))


@contextmanager
def refused(reason: str) -> Iterator[None]:
    with pytest.raises(ApiError) as caught:
        yield
    assert caught.value.reason == reason
    assert not any(secret[len(PREFIX) :] in str(caught.value) for secret in SECRETS.values())
