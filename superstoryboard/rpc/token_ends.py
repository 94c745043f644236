"""Streams end with the token that they were opened with: at its time, or as soon as it is known to be revoked."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext

import grpc

from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.tokens import Principal


class TokenEnds:
    """The streams that are open with service tokens."""

    def __init__(self, ending: Callable[[str], ApiError | None]) -> None:
        self._ending = ending
        self._open: defaultdict[str, set[asyncio.Timeout]] = defaultdict(set)

    @contextmanager
    def hold(self, sha256: str, limit: asyncio.Timeout) -> Iterator[None]:
        """Let a limit end at once when its token does, while the block runs."""
        self._open[sha256].add(limit)
        self._look_at(sha256)  # It may have ended since the call was admitted.
        try:
            yield
        finally:
            self._open[sha256].discard(limit)
            if not self._open[sha256]:
                del self._open[sha256]

    def look(self) -> None:
        """End the streams whose tokens have ended."""
        for sha256 in self._open:
            self._look_at(sha256)

    def why(self, sha256: str) -> ApiError | None:
        """What ended a token."""
        return self._ending(sha256)

    def _look_at(self, sha256: str) -> None:
        if self._ending(sha256) is None:
            return
        for limit in self._open[sha256]:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def until_token_ends(principal: Principal, ends: TokenEnds | None) -> AsyncIterator[None]:
    """Run the block for as long as the token of its caller is good.

    Raises:
        ApiError: the token ended: TOKEN_EXPIRED or TOKEN_REVOKED.
    """
    watched = ends if principal.sha256 else None
    seconds = None if principal.expires_at is None else max(0.0, principal.expires_at - time.time())
    try:
        async with asyncio.timeout(seconds) as limit:
            with watched.hold(principal.sha256, limit) if watched else nullcontext():
                yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise (watched.why(principal.sha256) if watched else None) or _expired() from None


def _expired() -> ApiError:
    return ApiError(
        grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", "the token has expired; sign in again or renew it"
    )
