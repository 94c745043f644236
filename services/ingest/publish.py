"""Pushes the event log to a broker: at least once, in order within each job, without gaps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from google.protobuf.json_format import MessageToJson

from superstoryboard.broker.events import EventExchange, EventsBrokerError, OutgoingEvent
from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.feeds import EventFeedPosition, FeedLease
from superstoryboard.jobs.records import event_message
from superstoryboard.telemetry.feed_metrics import FeedMetrics
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import Dependency

FEED = "amqp"
LOOK_SECONDS = 2.0
"""Time between two looks of a process that does not publish, and between two renewals of one that has nothing to."""

log = get_logger("publish")


class EventPublisher:
    """Publishes while it holds the feed; else looks whether the feed is free.

    An event counts as published when the broker has confirmed it, and only then the position moves: after any crash
    the events behind the position are published again.
    """

    def __init__(
        self,
        position: EventFeedPosition,
        feed: EventFeed,
        exchange: EventExchange,
        *,
        dependency: Dependency,
        metrics: FeedMetrics,
    ) -> None:
        self._position = position
        self._feed = feed
        self._exchange = exchange
        self._dependency = dependency
        self._metrics = metrics
        self._away = False

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            with suppress(DatabaseUnavailableError):  # which the database's own log line tells
                await self._turn()
            await asyncio.sleep(LOOK_SECONDS)

    async def aclose(self) -> None:
        """Let another process go on at once."""
        await self._exchange.aclose()
        try:
            await self._position.release()
        except DatabaseUnavailableError:
            log.info("The event feed could not be released; its lease expires")

    async def _turn(self) -> None:
        """Take the feed where nobody has it, and publish until it is lost."""
        if not (await self._hold()).held:
            return
        try:
            await self._exchange.open()
            self._note_back()
            await self._publish(await self._hold())  # looked up anew: whoever published before us has ended only now
        except EventsBrokerError as error:
            self._note_away(error)
            await self._position.release()
        finally:
            self._metrics.holds(held=False)
            await self._exchange.aclose()

    async def _hold(self) -> FeedLease:
        """Take or keep the lease; a new feed begins with what happens from now on."""
        lease = await self._position.hold(await self._feed.start())
        self._metrics.stands(self._feed.position - lease.last_sequence)
        return lease

    async def _publish(self, lease: FeedLease) -> None:
        given, held = lease.last_sequence, lease.held
        self._metrics.holds(held=held)
        log.info("Publishing events", after_sequence=given)
        lost = await self._position.pruned_after(given)
        if lost is not None:
            log.error("Events were deleted before they were published", after_sequence=given, up_to_sequence=lost)
            self._metrics.lost(lost - given)
        while held:
            until = await self._feed.wait_surely_past(given, LOOK_SECONDS)
            if not self._exchange.is_open:
                raise EventsBrokerError("CONNECTION_LOST")
            if until is None:
                held = (await self._hold()).held
                continue
            page = await self._position.read(given, until)
            await self._exchange.publish([_outgoing(row) for row in page.rows])
            given = page.position
            held = await self._position.advance(given)
            self._metrics.published(len(page.rows))
            self._metrics.stands(self._feed.position - given)
        log.info("Another process publishes the events now")

    def _note_back(self) -> None:
        if self._away:
            log.info("The broker accepts events again")
        self._away = False
        self._dependency.back()

    def _note_away(self, error: EventsBrokerError) -> None:
        if not self._away:
            log.warning("The broker does not accept events; they are published later", kind=str(error))
            self._dependency.away()
        self._away = True


def _outgoing(row: dict[str, Any]) -> OutgoingEvent:
    event = event_message(row)
    return OutgoingEvent(
        sequence=row["sequence"],
        job_id=event.job_id,
        routing_key=f"{row['kind']}.{row['state'].lower()}",
        body=MessageToJson(event, indent=None).encode(),
        created_at=row["created_at"],
        headers={"kind": row["kind"], "owner": row["owner"], "storyboard_id": row["storyboard_id"] or ""},
    )
