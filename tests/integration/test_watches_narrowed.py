"""A watch shows of a storyboard what its caller may read, and no longer than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest

from devstack.stack.ports import free_port
from services.ingest import generation
from services.ingest.generation import GenerationService
from services.ingest.settings import IngestSettings
from services.ingest.submissions import Submissions
from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, Wakeups
from superstoryboard.domain.kinds import KINDS
from superstoryboard.domain.quotas import QUOTAS
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.events import EventLog
from superstoryboard.jobs.service_tokens import ServiceTokenTable
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.storyboards import OwnerRules, Storyboards
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.metrics import RpcMetrics, new_registry
from superstoryboard.telemetry.queue_metrics import QuotaMetrics
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1.generation_service_pb2_grpc import (
    GenerationServiceStub,
    add_GenerationServiceServicer_to_server,
)
from superstoryboard.v1.storyboard_pb2 import STORYBOARD_ACCESS_EDITOR, STORYBOARD_ACCESS_VIEWER, StoryboardAccess
from tests.running import ALICE, BOB, SECRET, SERVICE, Metadata, bearer, token

if TYPE_CHECKING:
    from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceAsyncStub

CAROL = bearer(token("carol"))
SHARED = "test-storyboard"
WAIT_SECONDS = 60.0


@pytest.fixture
async def stub(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GenerationServiceAsyncStub]:
    """Ingest in this process; a watch looks at every page whether its caller may still read."""
    monkeypatch.setattr(generation, "LOOK_SECONDS", 0.0)
    address = f"127.0.0.1:{free_port()}"
    settings = IngestSettings.model_validate(
        {"grpc_listen": address, "database_url": database_url, "supabase_jwt_secret": SECRET}
    )
    registry = new_registry()
    wakeups = Wakeups(database_url, EVENTS_CHANNEL)
    feed = EventFeed(database, wakeups)
    tasks = [asyncio.create_task(wakeups.run()), asyncio.create_task(feed.run())]
    service = GenerationService(
        JobStore(database),
        Steering(database),
        EventLog(database, feed),
        Submissions(settings.catalogue(), settings),
        watches_per_owner=settings.watches_per_owner,
        quotas=QuotaMetrics(registry, kinds=KINDS, quotas=QUOTAS),
        storyboards=Storyboards(database),
        owner_rules=OwnerRules(database, settings.owners()),
    )
    server = Server(address, Authenticator.of(settings, ServiceTokenTable(database), registry), RpcMetrics(registry))
    server.add("superstoryboard.v1.GenerationService", add_GenerationServiceServicer_to_server, service)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield GenerationServiceStub(channel)
    await server.stop(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def create(stub: GenerationServiceAsyncStub, who: Metadata, board: str = "hers") -> str:
    image = job_pb2.ImageGeneration(storyboard_id=board, prompt="a fox")
    return (await stub.CreateImageJob(api.CreateImageJobRequest(image=image), metadata=who)).job.id


async def share(stub: GenerationServiceAsyncStub, access: StoryboardAccess) -> None:
    request = api.ShareStoryboardRequest(storyboard_id="hers", member="carol", access=access)
    await stub.ShareStoryboard(request, metadata=ALICE)


async def seen(stub: GenerationServiceAsyncStub, who: Metadata, board: str) -> set[str]:
    """Jobs of which a whole watch of a storyboard tells."""
    request = api.WatchJobsRequest(storyboard_id=board, until_terminal=True)
    return {answer.event.job_id async for answer in stub.WatchJobs(request, metadata=who, timeout=WAIT_SECONDS)}


async def test_a_watch_of_a_storyboard_shows_what_its_caller_may_read(
    stub: GenerationServiceAsyncStub, database: Database
) -> None:
    bobs = await create(stub, BOB)
    assert await Storyboards(database).transfer("hers", "alice") is None
    hers, services = await create(stub, ALICE), await create(stub, SERVICE)
    await share(stub, STORYBOARD_ACCESS_VIEWER)
    in_shared = {who: await create(stub, who, SHARED) for who in (ALICE, BOB)}
    everything = {bobs, hers, services, *in_shared.values()}
    for job_id in everything:
        await stub.CancelJob(api.CancelJobRequest(job_id=job_id), metadata=SERVICE)
    readable = {
        (who, board): await seen(stub, who, board) for who in (ALICE, BOB, CAROL, SERVICE) for board in ("hers", SHARED)
    }
    assert readable == {
        (ALICE, "hers"): {bobs, hers, services},
        (ALICE, SHARED): {in_shared[ALICE]},
        (BOB, "hers"): {bobs},
        (BOB, SHARED): {in_shared[BOB]},
        (CAROL, "hers"): {bobs, hers, services},
        (CAROL, SHARED): set(),
        (SERVICE, "hers"): {bobs, hers, services},
        (SERVICE, SHARED): set(in_shared.values()),
    }


async def test_a_watch_of_jobs_shows_none_that_its_caller_may_not_read(stub: GenerationServiceAsyncStub) -> None:
    hers, bobs = await create(stub, ALICE), await create(stub, BOB, "his")
    watch = stub.WatchJobs(api.WatchJobsRequest(job_ids=[bobs, hers]), metadata=BOB, timeout=WAIT_SECONDS)
    with pytest.raises(grpc.aio.AioRpcError, match=hers) as caught:
        await anext(aiter(watch))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_open_watch_shows_nothing_more_once_a_share_has_ended(stub: GenerationServiceAsyncStub) -> None:
    hers = await create(stub, ALICE)
    await share(stub, STORYBOARD_ACCESS_EDITOR)
    carols = await create(stub, CAROL)
    watch = stub.WatchJobs(api.WatchJobsRequest(storyboard_id="hers"), metadata=CAROL, timeout=WAIT_SECONDS)
    events = aiter(watch)
    assert [(await anext(events)).event.job_id for _ in range(2)] == [hers, carols]
    unshare = api.UnshareStoryboardRequest(storyboard_id="hers", member="carol")
    await stub.UnshareStoryboard(unshare, metadata=ALICE)
    await create(stub, ALICE)
    await stub.CancelJob(api.CancelJobRequest(job_id=hers), metadata=ALICE)
    await stub.CancelJob(api.CancelJobRequest(job_id=carols), metadata=CAROL)
    assert (await anext(events)).event.job_id == carols
    watch.cancel()
