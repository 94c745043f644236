"""The keys of a project, kept fresh in the background; whoever verifies only looks at what is there."""

from __future__ import annotations

import time

import grpc

from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.key_schedule import Clock, KeySchedule, KeyTimes
from superstoryboard.rpc.key_sources import KeySource
from superstoryboard.rpc.token_keys import KeySet, KeySetError, PublicKey, parse_key_set, shown
from superstoryboard.telemetry.key_metrics import TokenKeyMetrics
from superstoryboard.telemetry.logs import get_logger

RETRY_SECONDS = 5

log = get_logger("token_keys")


class TokenKeys:
    """The last good set, used for a day after it was read."""

    def __init__(
        self,
        source: KeySource,
        metrics: TokenKeyMetrics | None = None,
        times: KeyTimes | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._source = source
        self._metrics = metrics or TokenKeyMetrics()
        self._times = times or KeyTimes()
        self._clock = clock
        self._schedule = KeySchedule(self._times, clock)
        self._set: KeySet | None = None
        self._read_at = 0.0
        self._problem: str | None = None
        self._metrics.watch_age(self.age_seconds)

    def find(self, kid: str) -> PublicKey:
        """The key of this name, from memory.

        Raises:
            ApiError: TOKEN_KEY_UNKNOWN, and the set is read again soon; TOKEN_KEYS_UNAVAILABLE while there is no set.
        """
        if self.age_seconds() > self._times.lifetime or self._set is None:
            raise ApiError(
                grpc.StatusCode.UNAVAILABLE,
                "TOKEN_KEYS_UNAVAILABLE",
                "the public keys of the project's Auth could not be read yet; tokens cannot be checked",
                retry_after_seconds=RETRY_SECONDS,
            )
        key = self._set.keys.get(kid)
        if key is None:
            self._schedule.ask()
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED,
                "TOKEN_KEY_UNKNOWN",
                "the token's key (kid) is not among the project's public keys; a new key is known within"
                f" {self._times.gap:g} s, after that sign in again",
            )
        return key

    def age_seconds(self) -> float:
        """How long ago the set was read; infinite where there is none."""
        return float("inf") if self._set is None else self._clock() - self._read_at

    async def run(self) -> None:
        """Read the keys whenever it is time, for ever."""
        while True:
            await self._schedule.due()
            await self.refresh()

    async def refresh(self) -> None:
        """Read the keys once. What cannot be read changes nothing but the time of the next read."""
        began = self._clock()
        try:
            read = parse_key_set(await self._source.read())
        except KeySetError as error:
            self._failed(str(error))
        else:
            self._take(read)
        took = self._clock() - began
        self._schedule.ended(succeeded=self._problem is None, has_keys=self._set is not None, took=took)

    def _take(self, read: KeySet) -> None:
        if self._set is None or self._problem is not None or _names(read) != _names(self._set):
            log.info("Read the keys of users' tokens", kids=[shown(kid) for kid in sorted(read.keys)])
            if not read.keys:
                log.warning("Auth publishes no usable key; only tokens signed with SUPABASE_JWT_SECRET are accepted")
        if self._set is None or read.dropped != self._set.dropped:
            for key in read.dropped:
                log.warning("A key of the project's key set is not used", kid=key.kid, kty=key.kty, reason=key.reason)
        self._set, self._read_at, self._problem = read, self._clock(), None
        self._metrics.refreshed("ok", len(read.keys))

    def _failed(self, problem: str) -> None:
        if problem != self._problem:
            log.warning(
                "The keys of users' tokens cannot be read; trying again",
                reason=f"the key set {problem}",
                age_seconds=None if self._set is None else round(self.age_seconds()),
            )
        self._problem = problem
        self._metrics.refreshed("failed")


def _names(keys: KeySet) -> set[str]:
    return set(keys.keys)
