"""Service tokens as this process knows them: a copy in memory, kept current in the background. No call waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Protocol

import grpc

from superstoryboard.db.notify import Wakeups
from superstoryboard.domain.service_tokens import ServiceToken, TokensUnreadableError
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.token_ends import TokenEnds
from superstoryboard.rpc.token_file import TokenFile
from superstoryboard.telemetry.key_metrics import ServiceTokenMetrics
from superstoryboard.telemetry.logs import get_logger

LOOK_SECONDS = 2.5
READ_SECONDS = 2.0
"""With the time between two looks less than 5 s: so soon a revocation reaches every process."""
LIFETIME_SECONDS = 3600.0
"""How long the last copy counts while the database is away."""
NOTE_SECONDS = 300.0
RETRY_SECONDS = 5

Clock = Callable[[], float]

log = get_logger("service_tokens")


class TokenTable(Protocol):
    """Where service tokens are kept."""

    async def read(self) -> list[ServiceToken]:
        """Every token that is kept. Raises TokensUnreadableError."""
        ...

    async def note_used(self, sha256s: Collection[str]) -> None:
        """Note that tokens were used just now. Raises TokensUnreadableError."""
        ...


class TokenCopy:
    """The tokens of the table, used for an hour after they were read, and those of a file."""

    def __init__(
        self,
        table: TokenTable,
        wakeups: Wakeups,
        file: TokenFile | None = None,
        metrics: ServiceTokenMetrics | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._table = table
        self._file = file
        self._wakeups = wakeups
        self._metrics = metrics or ServiceTokenMetrics()
        self._clock = clock
        self._kept: dict[str, ServiceToken] = {}
        self._filed: dict[str, ServiceToken] = {}
        self._read_at: float | None = None
        self._problems: dict[str, str] = {}
        self._used: set[str] = set()
        self._noted_at = float("-inf")
        self.ends = TokenEnds(self._ending)
        self._metrics.watch_age(self.age_seconds)

    def find(self, sha256: str) -> ServiceToken:
        """The live token with this hash, from memory.

        Raises:
            ApiError: TOKEN_UNKNOWN, TOKEN_REVOKED or TOKEN_EXPIRED; TOKEN_KEYS_UNAVAILABLE while there is no copy.
        """
        fresh = self.age_seconds() <= LIFETIME_SECONDS
        token = (self._kept.get(sha256) if fresh else None) or self._filed.get(sha256)
        if token is None and not fresh:
            raise ApiError(
                grpc.StatusCode.UNAVAILABLE,
                "TOKEN_KEYS_UNAVAILABLE",
                "the service tokens could not be read from the database; they cannot be checked",
                retry_after_seconds=RETRY_SECONDS,
            )
        if token is None:
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED,
                "TOKEN_UNKNOWN",
                "there is no such service token; a new one is known within 5 s",
            )
        if (error := _ended(token)) is not None:
            raise error
        self._used.add(sha256)
        return token

    def age_seconds(self) -> float:
        """How long ago the table was read; infinite where it never was."""
        return float("inf") if self._read_at is None else self._clock() - self._read_at

    async def prepare(self) -> None:
        """Read the tokens once, before the process listens.

        Raises:
            OSError: the file of tokens is not one.
        """
        if self._file is not None:
            try:
                self._filed = _by_hash(await self._file.read())
            except TokensUnreadableError as error:
                raise OSError(f"SERVICE_TOKENS_FILE {error}") from None
        await self.refresh()

    async def listen(self) -> None:
        """Hear of changes for ever, where the database can be listened to."""
        await self._wakeups.run()

    async def run(self) -> None:
        """Read the tokens when they change, and often enough where nobody says so, for ever."""
        while True:
            await self._wakeups.wait(LOOK_SECONDS)
            await self.refresh()
            await self._note()

    async def refresh(self) -> None:
        """Read the tokens once, and end the streams of those that are gone. What cannot be read changes nothing."""
        await self._read_file()
        try:
            async with asyncio.timeout(READ_SECONDS):
                self._kept = _by_hash(await self._table.read())
        except (TokensUnreadableError, TimeoutError) as error:
            self._failed("the database", str(error) or f"no answer within {READ_SECONDS:g} s")
            self._metrics.refreshed("failed")
        else:
            self._read_at = self._clock()
            self._restored("the database")
            self._metrics.refreshed("ok", self._live())
        self.ends.look()

    async def _read_file(self) -> None:
        if self._file is None:
            return
        try:
            self._filed = _by_hash(await self._file.read())
        except TokensUnreadableError as error:
            self._failed("SERVICE_TOKENS_FILE", str(error))
        else:
            self._restored("SERVICE_TOKENS_FILE")

    async def _note(self) -> None:
        used = self._used & self._kept.keys()
        if not used or self._clock() - self._noted_at < NOTE_SECONDS:
            return
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._table.note_used(used)
        except (TokensUnreadableError, TimeoutError):
            return
        self._used.clear()
        self._noted_at = self._clock()

    def _ending(self, sha256: str) -> ApiError | None:
        """Why a token that was good is so no more; None while it is, also where that cannot be said."""
        token = self._kept.get(sha256) or self._filed.get(sha256)
        return _revoked() if token is None else _ended(token)

    def _live(self) -> int:
        return sum(_ended(token) is None for token in (self._filed | self._kept).values())

    def _failed(self, what: str, problem: str) -> None:
        if what not in self._problems:
            age = None if self._read_at is None else round(self.age_seconds())
            log.warning(
                "Service tokens cannot be read; the last copy is used", source=what, reason=problem, age_seconds=age
            )
        self._problems[what] = problem

    def _restored(self, what: str) -> None:
        if self._problems.pop(what, None) is not None:
            log.info("Service tokens can be read again", source=what)


def _by_hash(tokens: Iterable[ServiceToken]) -> dict[str, ServiceToken]:
    return {token.sha256: token for token in tokens}


def _ended(token: ServiceToken) -> ApiError | None:
    if token.revoked_at is not None:
        return _revoked()
    if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
        return ApiError(
            grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", "the service token has expired; create a new one"
        )
    return None


def _revoked() -> ApiError:
    return ApiError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED", "the service token was revoked; create a new one")
