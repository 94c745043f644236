"""ProcessQueue of a worker that has no room, and for a caller that goes away, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from devstack.ports import free_port
from superstoryboard.auth.interceptor import Authenticator
from superstoryboard.jobs.database import Database
from superstoryboard.jobs.errors import ErrorClass, JobError, JobFailure
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.work import ClaimedJob
from superstoryboard.queue.wakeups import QUEUE_CHANNEL, Wakeups
from superstoryboard.rpc.server import Server
from superstoryboard.runtime.worker import Limits, Worker
from superstoryboard.runtime.worker_service import WorkerService
from superstoryboard.telemetry.metrics import RpcMetrics
from superstoryboard.v1 import worker_service_pb2 as api
from superstoryboard.v1.worker_service_pb2_grpc import WorkerServiceStub, add_WorkerServiceServicer_to_server
from tests.integration.helpers import accept, image_queue
from tests.wire import reason

ONE_SLOT = Limits(concurrency=1, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)


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
    server = Server(address, Authenticator(None), RpcMetrics())
    service = WorkerService(worker, "image", JobStore(database), worker.wakeups)
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
            await stub.ProcessQueue(api.ProcessQueueRequest(), timeout=60)
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
