"""What a publisher of events does where its feed, its broker or its database fails it."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.ingest.publish import EventPublisher
from superstoryboard.broker.events import EventExchange, EventsBrokerError, OutgoingEvent
from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, Wakeups
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.feeds import EventFeedPosition
from superstoryboard.telemetry.feed_metrics import FeedMetrics
from superstoryboard.telemetry.metrics import DependencyMetrics
from tests.integration.helpers import accept
from tests.integration.pushes import Backend, assert_in_order, begun, consuming, log_of, publishing
from tests.integration.relay import relayed
from tests.waiting import awaited

PUBLISHING = "superstoryboard_feed_publishing"
LOST = "superstoryboard_feed_lost_events_total"

pytestmark = pytest.mark.timeout(300)


async def shows(registry: CollectorRegistry, name: str, value: float) -> None:
    async def look() -> bool:
        return registry.get_sample_value(name) == value

    await awaited(look)


async def test_a_publisher_that_lost_its_feed_stops_and_leaves_no_event_out(
    database: Database, sql: psycopg.Connection, database_url: str, amqp_url: str
) -> None:
    registry = CollectorRegistry()
    async with (
        consuming(amqp_url, Backend()) as backend,
        publishing(database_url, amqp_url, metrics=FeedMetrics(registry)),
    ):
        await begun(database)
        await shows(registry, PUBLISHING, 1)
        sql.execute(
            "update superstoryboard.event_feeds set holder = %s, held_until = clock_timestamp() + interval '1 h'",
            (uuid4(),),
        )
        await accept(database)
        await shows(registry, PUBLISHING, 0)
        await accept(database)
        sql.execute("update superstoryboard.event_feeds set held_until = clock_timestamp()")
        events = await backend.has(await log_of(database))
    assert_in_order(events)


async def test_a_connection_that_is_lost_is_made_again_and_what_came_meanwhile_is_published(
    database: Database, database_url: str, amqp_url: str
) -> None:
    registry = CollectorRegistry()
    async with (
        consuming(amqp_url, Backend()) as backend,
        relayed(amqp_url) as (relay, url),
        publishing(database_url, url, metrics=FeedMetrics(registry)),
    ):
        await begun(database)
        await shows(registry, PUBLISHING, 1)
        with capture_logs() as lines:
            relay.cut()
            await accept(database)
            await backend.has(await log_of(database))
    told = [line["event"] for line in lines if line["component"] == "publish"]
    assert told[:2] == [
        "The broker does not accept events; they are published later",
        "The broker accepts events again",
    ]


async def test_events_that_were_deleted_unpublished_are_counted_and_the_rest_is_published(
    database: Database, sql: psycopg.Connection, database_url: str, amqp_url: str
) -> None:
    before = EventFeedPosition(database, "test", 60)
    await before.hold(0)
    await before.release()
    await accept(database)
    await accept(database)
    first, second = sorted(await log_of(database))
    sql.execute("delete from superstoryboard.job_events where sequence = %s", (first,))
    sql.execute("update superstoryboard.event_log set pruned_sequence = %s", (first,))
    registry = CollectorRegistry()
    async with (
        consuming(amqp_url, Backend()) as backend,
        publishing(database_url, amqp_url, metrics=FeedMetrics(registry)),
    ):
        await backend.has({second})
    assert registry.get_sample_value(LOST) == first
    assert [event.sequence for event in backend.events] == [second]


async def test_a_publisher_ends_without_the_database_too(
    database: Database, sql: psycopg.Connection, amqp_url: str
) -> None:
    position, other = EventFeedPosition(database, "test", 60), EventFeedPosition(database, "test", 60)
    publisher = EventPublisher(
        position,
        EventFeed(database, Wakeups(None, EVENTS_CHANNEL)),
        EventExchange(amqp_url, "test"),
        dependency=DependencyMetrics().of("broker"),
        metrics=FeedMetrics(),
    )
    await position.hold(0)
    sql.execute("alter schema superstoryboard rename to elsewhere")
    await publisher.aclose()
    sql.execute("alter schema elsewhere rename to superstoryboard")
    assert not (await other.hold(0)).held
    sql.execute("update superstoryboard.event_feeds set held_until = clock_timestamp()")
    assert (await other.hold(0)).held, "the lease has ended by itself"


def event(headers: dict[str, str]) -> OutgoingEvent:
    return OutgoingEvent(1, "job", "image.queued", b"{}", datetime.now(UTC), headers)


async def test_what_the_broker_did_not_confirm_closes_the_connection(amqp_url: str) -> None:
    exchange = EventExchange(amqp_url, "test")
    with pytest.raises(EventsBrokerError, match="ConnectionError"):
        await exchange.publish([event({})])
    async with relayed(amqp_url) as (relay, url):
        cut = EventExchange(url, "cut")
        await cut.open()
        relay.cut()
        with pytest.raises(EventsBrokerError):
            await cut.publish([event({})])
        assert not cut.is_open


async def test_an_event_that_cannot_be_sent_is_no_fault_of_the_broker(amqp_url: str) -> None:
    exchange = EventExchange(amqp_url, "test")
    await exchange.open()
    with pytest.raises(TypeError):
        await exchange.publish([event({"kind": object()})])  # type: ignore[dict-item]
    assert not exchange.is_open
