"""Wake-ups by NOTIFY where a direct connection is configured; else the waiting side polls at its own pace."""

from __future__ import annotations

import asyncio

import psycopg
from psycopg import AsyncConnection

from superstoryboard.db.cancellation import cancel_requests, keep_cancel
from superstoryboard.telemetry.logs import get_logger

CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_SECONDS = 1.0
THROTTLE_SECONDS = 0.025
"""Notifications come at most every 20 ms: a wake-up is followed by one more look after this time."""

QUEUE_CHANNEL = "superstoryboard_queue"
EVENTS_CHANNEL = "superstoryboard_events"
ARTIFACTS_CHANNEL = "superstoryboard_artifacts"
TOKENS_CHANNEL = "superstoryboard_tokens"

log = get_logger("wakeups")


class Wakeups:
    """Waits for notifications on one channel; without a direct connection each wait just lasts its time."""

    def __init__(self, listen_url: str | None, channel: str) -> None:
        self._url = listen_url
        self._channel = channel
        self._woken = asyncio.Event()
        self._look_again = False
        self._listening = True

    async def run(self) -> None:
        """Listen until cancelled, connecting again after each loss. Returns at once without a direct connection."""
        cancels = cancel_requests()
        while self._url is not None:
            try:
                await self._listen(self._url, cancels)
            except psycopg.OperationalError:
                keep_cancel(cancels)
                if self._listening:
                    log.info("LISTEN is unavailable; polling until it is restored", channel=self._channel)
                self._listening = False
                self.wake()
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self, url: str, cancels: int) -> None:
        connection = await AsyncConnection.connect(
            url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="superstoryboard-listen",
        )
        async with connection:
            await connection.execute(psycopg.sql.SQL("listen {}").format(psycopg.sql.Identifier(self._channel)))
            self._listening = True
            self.wake()
            keep_cancel(cancels)
            async for _ in connection.notifies():
                self.wake()
                keep_cancel(cancels)

    def wake(self) -> None:
        """End the present or next wait, and shorten the one after it."""
        self._look_again = True
        self._woken.set()

    async def wait(self, timeout_seconds: float) -> None:
        """Wait for a wake-up, at most this long."""
        if self._look_again and not self._woken.is_set():
            self._look_again = False
            timeout_seconds = min(timeout_seconds, THROTTLE_SECONDS)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()
