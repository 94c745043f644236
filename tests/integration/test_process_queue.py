"""ProcessQueue of a worker that has no room, and for a caller that goes away, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from devstack.stack.ports import free_port
from superstoryboard.db.database import Database
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.domain.kinds import IMAGE
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.queue import ClaimedJob, Gate, WorkQueue
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.metrics import RpcMetrics
from superstoryboard.v1 import worker_service_pb2 as api
from superstoryboard.v1.worker_service_pb2_grpc import WorkerServiceStub, add_WorkerServiceServicer_to_server
from superstoryboard.worker.attempt.errors import GateClosedError
from superstoryboard.worker.loop import Limits, Worker
from superstoryboard.worker.service import WorkerService
from tests.integration.helpers import ENDING, IMAGE_QUEUE, accept, image_queue, row, stage
from tests.wire import reason

ONE_SLOT = Limits(concurrency=1, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)


End = Callable[[Database, ClaimedJob], Awaitable[None]]


class Held:
    """Attempts that start and then wait until they are let go; each is refused."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.let_go = asyncio.Event()

    async def generate(self, job: ClaimedJob) -> str:
        del job
        self.started.set()
        await self.let_go.wait()
        raise JobFailure(JobError(ErrorClass.REFUSED, "CODE", "it was refused"))


@asynccontextmanager
async def served(database: Database, worker: Worker) -> AsyncIterator[Any]:
    address = f"127.0.0.1:{free_port()}"
    server = Server(address, Authenticator(()), RpcMetrics())
    service = WorkerService(worker, IMAGE, JobStore(database), worker.wakeups)
    server.add("superstoryboard.v1.WorkerService", add_WorkerServiceServicer_to_server, service)
    await server.start(reflect=False)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield WorkerServiceStub(channel)
    finally:
        await server.stop(0)


async def test_a_worker_without_room_says_so_and_not_that_the_queue_is_empty(database: Database) -> None:
    held = Held()
    for _ in range(2):
        await accept(database)
    worker = Worker(image_queue(database), held.generate, Wakeups(None, QUEUE_CHANNEL), ONE_SLOT)
    busy = asyncio.create_task(worker.process(1, force=False))
    await held.started.wait()
    async with served(database, worker) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ProcessQueue(api.ProcessQueueRequest(), timeout=4)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(refused.value) == "WORKER_BUSY"
    held.let_go.set()
    await busy


async def test_a_caller_that_goes_away_has_no_more_messages_processed(database: Database) -> None:
    held = Held()
    for _ in range(3):
        await accept(database)
    worker = Worker(image_queue(database), held.generate, Wakeups(None, QUEUE_CHANNEL), ONE_SLOT)
    async with served(database, worker) as stub:
        call = stub.ProcessQueue(api.ProcessQueueRequest(max_messages=3), timeout=60)
        await held.started.wait()
        call.cancel()
    held.let_go.set()
    assert len(await worker.process(1, force=False)) == 1
    assert len(await image_queue(database, "another").claim(5, 60)) == 1


class Slow(WorkQueue):
    """The real queue, whose answer to a claim is a long time on its way."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, IMAGE_QUEUE, ["image"], "worker-1", Gate("google", "m"))
        self.claimed = asyncio.Event()
        self.let_go = asyncio.Event()

    async def claim(
        self, quantity: int, lease_seconds: int, *, force: bool = False, held: Iterable[UUID] = ()
    ) -> list[ClaimedJob]:
        jobs = await super().claim(quantity, lease_seconds, force=force, held=held)
        self.claimed.set()
        await self.let_go.wait()
        return jobs


async def test_a_job_claimed_for_a_caller_that_went_away_goes_back_at_once(database: Database) -> None:
    job_id = await accept(database)
    work = Slow(database)
    worker = Worker(work, Held().generate, Wakeups(None, QUEUE_CHANNEL), ONE_SLOT)
    processing = asyncio.create_task(worker.process(1, force=True))
    await work.claimed.wait()
    processing.cancel()
    await asyncio.wait({processing})
    draining = asyncio.create_task(worker.drain())
    work.let_go.set()
    await draining
    record = await row(database, job_id)
    assert (record["state"], record["attempt"]) == ("QUEUED", 0)
    assert len(await image_queue(database, "another").claim(1, 60)) == 1


async def test_a_claim_under_way_when_the_drain_begins_goes_back(database: Database) -> None:
    job_id = await accept(database)
    work = Slow(database)
    worker = Worker(work, Held().generate, Wakeups(None, QUEUE_CHANNEL), ONE_SLOT)
    loop = asyncio.create_task(worker.run())
    await work.claimed.wait()
    draining = asyncio.create_task(worker.drain())
    await worker.draining.wait()
    work.let_go.set()
    await draining
    await loop
    assert (await row(database, job_id))["state"] == "QUEUED"
    assert worker.running == []


async def test_a_job_that_met_a_closed_gate_is_not_said_to_run(database: Database) -> None:
    await accept(database)

    async def generate(_: ClaimedJob) -> str:
        raise GateClosedError(60)

    worker = Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), ONE_SLOT)
    async with served(database, worker) as stub:
        answer = await stub.ProcessQueue(api.ProcessQueueRequest(), timeout=60)
    assert answer.message == "Processed 1 messages"
    assert [result.error for result in answer.results] == ["released to the queue: calls to the model are paused"]


async def test_a_worker_that_drains_does_not_say_that_the_queue_is_empty(database: Database) -> None:
    await accept(database)
    worker = Worker(image_queue(database), Held().generate, Wakeups(None, QUEUE_CHANNEL), ONE_SLOT)
    await worker.drain()
    async with served(database, worker) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ProcessQueue(api.ProcessQueueRequest(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(refused.value) == "WORKER_DRAINING"


async def test_the_status_of_a_worker_names_what_it_runs(database: Database) -> None:
    held = Held()
    job_id = await accept(database)
    worker = Worker(image_queue(database), held.generate, Wakeups(None, QUEUE_CHANNEL), ONE_SLOT)
    running = asyncio.create_task(worker.process(1, force=False))
    await held.started.wait()
    async with served(database, worker) as stub:
        status = await stub.GetStatus(api.GetStatusRequest(), timeout=60)
        assert (status.worker_id, status.queue, status.concurrency) == ("worker-1", IMAGE_QUEUE, 1)
        assert (status.draining, status.kind) == (False, IMAGE.number)
        assert [(each.job_id, each.claim) for each in status.running] == [(str(job_id), 1)]
        assert status.running[0].age.ToTimedelta() > timedelta(0)
        held.let_go.set()
        await running
        await worker.drain()
        status = await stub.GetStatus(api.GetStatusRequest(), timeout=60)
    assert (status.draining, list(status.running)) == (True, [])


async def removed(database: Database, job: ClaimedJob) -> None:
    await database.fetch("delete from superstoryboard.jobs where id = %(job)s returning 1", {"job": job.id})


async def cancelled(database: Database, job: ClaimedJob) -> None:
    await Steering(database).cancel(job.id, owner=None, actor="operator")


async def kept_for_a_person(database: Database, job: ClaimedJob) -> None:
    """As an asset_writer does whose Storage refuses the object."""
    artifact_id = await stage(database, job)
    await Artifacts(database).bury(
        artifact_id, JobError(ErrorClass.CONFIG, "STORAGE_FORBIDDEN", "Storage refused"), ENDING
    )


@pytest.mark.parametrize(
    ("end", "said"),
    [(removed, "the job no longer exists"), (cancelled, "cancelled"), (kept_for_a_person, "Storage refused")],
)
async def test_a_job_that_somebody_else_ended_says_how(database: Database, end: End, said: str) -> None:
    await accept(database)

    async def generate(job: ClaimedJob) -> str:
        await end(database, job)
        return "STAGED"

    worker = Worker(image_queue(database), generate, Wakeups(None, QUEUE_CHANNEL), ONE_SLOT)
    async with served(database, worker) as stub:
        answer = await stub.ProcessQueue(api.ProcessQueueRequest(), timeout=60)
    (result,) = answer.results
    assert (result.success, result.error) == (False, said)
