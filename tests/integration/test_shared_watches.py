"""A watch that is open while its storyboard is shared no more."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from services.ingest import generation
from services.ingest.generation import GenerationService
from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, Wakeups
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.events import EventLog
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.storyboards import Storyboards
from superstoryboard.rpc import authentication
from superstoryboard.rpc.tokens import Principal, Role
from superstoryboard.telemetry.metrics import new_registry
from superstoryboard.telemetry.queue_metrics import QuotaMetrics
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.job_pb2 import JobState
from tests.integration.helpers import claim_one, image_queue
from tests.integration.storyboard_steps import accepted


async def test_it_ends_without_showing_what_comes_afterwards(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "LOOK_SECONDS", 0.0)
    boards = Storyboards(database)
    await accepted(database, "alice")
    assert await boards.share("board", ["alice"], "bob", "viewer") is None
    wakeups = Wakeups(database_url, EVENTS_CHANNEL)
    feed = EventFeed(database, wakeups)
    tasks = [asyncio.create_task(wakeups.run()), asyncio.create_task(feed.run())]
    authentication._caller.set(Principal("bob", Role.AUTHENTICATED, identities=("bob",)))
    request = api.WatchJobsRequest(storyboard_id="board", until_terminal=True)
    states = []
    async for answer in service(database, EventLog(database, feed), boards).WatchJobs(request, cast("Any", None)):
        states.append(answer.event.state)
        assert await boards.share("board", ["alice"], "bob", None) is None
        await claim_one(image_queue(database))
    assert states == [JobState.JOB_STATE_QUEUED]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def service(database: Database, events: EventLog, boards: Storyboards) -> GenerationService:
    """What answers watches; it accepts no jobs."""
    return GenerationService(
        JobStore(database),
        Steering(database),
        events,
        submissions=cast("Any", None),
        watches_per_owner=1,
        quotas=QuotaMetrics(new_registry()),
        storyboards=boards,
        owner_rules=cast("Any", None),
    )
