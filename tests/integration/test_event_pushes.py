"""Events over RabbitMQ: at least once, in order within each job, no gap, whatever is killed or restarted meanwhile."""

from __future__ import annotations

import asyncio

import aio_pika
import psycopg
import pytest

from superstoryboard.broker.events import EventExchange, EventsBrokerError
from superstoryboard.db.database import Database
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.feeds import EventFeedPosition
from tests.integration.helpers import accept, claim_one, image_queue
from tests.integration.pushes import WAIT_SECONDS, Backend, assert_in_order, begun, consuming, log_of, publishing, write

WRITERS = 50

JOBS_EACH = 4

pytestmark = pytest.mark.timeout(300)


async def test_fifty_writers_leave_no_gap_and_no_disorder(database: Database, database_url: str, amqp_url: str) -> None:
    await accept(database)  # before the feed: never published
    async with consuming(amqp_url, Backend()) as backend, publishing(database_url, amqp_url):
        await begun(database)
        before = await log_of(database)
        await asyncio.gather(*(write(database, JOBS_EACH) for _ in range(WRITERS)))
        expected = await log_of(database) - before
        assert len(expected) == WRITERS * JOBS_EACH * 2
        events = await backend.has(expected)
    assert {event.sequence for event in events} == expected
    assert len(events) == len(expected), "nothing failed, so nothing came twice"
    assert_in_order(events)


async def test_a_message_says_what_it_is(database: Database, database_url: str, amqp_url: str) -> None:
    async with consuming(amqp_url, Backend()) as backend, publishing(database_url, amqp_url):
        await begun(database)
        job_id = await accept(database)
        await claim_one(image_queue(database))
        await backend.has(await log_of(database))
    accepted, claimed = backend.messages
    assert (accepted.routing_key, claimed.routing_key) == ("image.queued", "image.running")
    assert accepted.content_type == "application/json"
    assert accepted.type == "superstoryboard.v1.JobEvent"
    assert accepted.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert accepted.headers == {"kind": "image", "owner": "alice", "storyboard_id": "board"}
    event = backend.events[0]
    assert (accepted.message_id, event.job_id, event.message) == (str(event.sequence), str(job_id), "Accepted")


async def test_an_event_that_commits_late_is_waited_for(database: Database, database_url: str, amqp_url: str) -> None:
    job_id = await accept(database)
    emit = "select superstoryboard.emit_event(j, 'slow') from superstoryboard.jobs j where id = %s"
    async with consuming(amqp_url, Backend()) as backend, publishing(database_url, amqp_url):
        await begun(database)
        before = await log_of(database)
        async with await psycopg.AsyncConnection.connect(database_url) as slow:
            await slow.execute(emit, (job_id,))
            await accept(database)
            await slow.commit()
        await backend.has(await log_of(database) - before)
    assert [event.message for event in backend.events] == ["slow", "Accepted"]


async def watchers_go_on(database: Database, feed: EventFeed) -> None:
    """Wait until watchers were given what happens beside a transaction that stays open, time and again."""
    for _ in range(5):
        await accept(database)
        assert await feed.wait_past(max(await log_of(database)) - 1, WAIT_SECONDS) is not None


async def test_a_transaction_that_watchers_do_not_wait_for_is_waited_for(
    database: Database, database_url: str, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a client which has sent a message: its event is pushed whenever it commits."""
    monkeypatch.setattr("superstoryboard.jobs.event_feed.GAP_LIMIT_SECONDS", 0.2)
    async with consuming(amqp_url, Backend()) as backend, publishing(database_url, amqp_url) as feed:
        await begun(database)
        async with await psycopg.AsyncConnection.connect(database_url) as open_long:
            await open_long.execute("select pgmq.send('image_generation_queue', '{}')")
            await watchers_go_on(database, feed)
            await open_long.commit()
        await backend.has(await log_of(database))
    assert [event.message for event in backend.events] == ["Accepted from the queue", *["Accepted"] * 5]


async def test_the_broker_admits_one_publisher(amqp_url: str) -> None:
    first, second = EventExchange(amqp_url, "first"), EventExchange(amqp_url, "second")
    await first.open()
    with pytest.raises(EventsBrokerError, match="ChannelLockedResource"):
        await second.open()
    assert first.is_open
    await first.aclose()
    await second.open()
    await second.aclose()


async def test_a_lost_lease_stops_the_holder_and_its_confirmed_events_count(database: Database) -> None:
    first, second = (EventFeedPosition(database, "test", lease) for lease in (0.0, 60.0))
    standing = await first.hold(7)
    assert (standing.held, standing.last_sequence) == (True, 7)
    standing = await second.hold(99)
    assert (standing.held, standing.last_sequence) == (True, 7), "a feed that is there keeps its position"
    assert not (await first.hold(7)).held
    assert not await first.advance(9)
    assert await second.advance(8), "never back"
    assert (await second.hold(0)).last_sequence == 9
    await first.release()
    assert not (await first.hold(0)).held, "only who holds it can release it"
    await second.release()
    assert (await first.hold(0)).held
