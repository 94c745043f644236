"""Keeps the leases of all jobs in the process by one heartbeat at a third of the lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import WorkerMetrics

log = get_logger("leases")

Lost = Callable[[], None]


class LeaseKeeper:
    """Extends leases until the job is forgotten; tells the owner of a job whose lease is lost."""

    def __init__(self, work: WorkQueue, lease_seconds: int, metrics: WorkerMetrics) -> None:
        self._work = work
        self._metrics = metrics
        self.lease_seconds = lease_seconds
        self._held: dict[UUID, tuple[ClaimedJob, Lost]] = {}
        self._extended = time.monotonic()

    def hold(self, job: ClaimedJob, lost: Lost) -> None:
        """Keep the lease of a job; `lost` is called once if it is lost."""
        self._held[job.id] = (job, lost)

    def forget(self, job: ClaimedJob) -> None:
        """Stop extending a job, before it is released."""
        held = self._held.get(job.id)
        if held is not None and held[0].claim == job.claim:
            del self._held[job.id]

    @property
    def held(self) -> list[UUID]:
        """Ids of the jobs whose leases are kept."""
        return list(self._held)

    async def run(self) -> None:
        """Beat until cancelled, also while draining."""
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            await self.beat()

    async def beat(self) -> None:
        """Extend every held lease in one round trip."""
        try:
            await self._extend()
        except DatabaseUnavailableError:
            age = time.monotonic() - self._extended
            if age > self.lease_seconds:  # fenced steps find out what that means, so only warn
                log.warning("Leases were not extended in time", jobs=len(self._held), age_seconds=round(age, 1))

    async def _extend(self) -> None:
        asked = [job for job, _ in self._held.values()]
        kept = await self._work.extend(asked, self.lease_seconds) if asked else set()
        self._extended = time.monotonic()
        self._lose([job for job in asked if job.id not in kept])

    def _lose(self, jobs: list[ClaimedJob]) -> None:
        for job in jobs:
            held = self._held.get(job.id)
            if held is not None and held[0].claim == job.claim:
                del self._held[job.id]
                log.warning("Lease lost; another worker has the job", job_id=str(job.id), claim=job.claim)
                self._metrics.lease_lost(job.kind)
                held[1]()
