"""Finds artifacts to write: by delivery at once, by poll whatever the broker does."""

from __future__ import annotations

import asyncio
from uuid import UUID

from superstoryboard.broker.artifacts import Broker
from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.db.notify import Wakeups
from superstoryboard.jobs.artifacts import Artifacts, StagedArtifact
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import WriterMetrics
from superstoryboard.v1.artifact_pb2 import ArtifactReady

from .write import ArtifactWriter

BROKER_GRACE_SECONDS = 3.0
"""With a broker, the poll leaves artifacts this young to their delivery."""

log = get_logger("consume")


class Consumer:
    """Leases artifacts, at most `concurrency` at once, and has them written."""

    def __init__(
        self,
        *,
        artifacts: Artifacts,
        writer: ArtifactWriter,
        wakeups: Wakeups,
        broker: Broker | None,
        metrics: WriterMetrics,
        concurrency: int,
        lease_seconds: int,
        poll_seconds: float,
    ) -> None:
        self._artifacts = artifacts
        self._writer = writer
        self._wakeups = wakeups
        self._broker = broker
        self._metrics = metrics
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._slots = asyncio.Semaphore(concurrency)
        self._writing: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """True once no more artifacts are taken."""
        return self._stopping.is_set()

    async def deliver(self) -> None:
        """Take deliveries of the broker, connecting in the background."""
        if self._broker is not None:
            await self._broker.stay_connected(self._concurrency, self._delivered)

    async def poll(self) -> None:
        """Take what has been staged long enough, until told to stop."""
        while not self._stopping.is_set():
            await self._slots.acquire()
            grace = BROKER_GRACE_SECONDS if self._broker is not None and self._broker.connected else 0.0
            if await self._take(None, grace) is None:
                await self._wakeups.wait(self._poll_seconds)

    async def stop(self, seconds: float) -> None:
        """Take no more, let the writes in flight end within the time; the rest are leased again later."""
        self._stopping.set()
        self._wakeups.wake()
        if self._writing:
            await asyncio.wait(list(self._writing), timeout=seconds)
        for task in list(self._writing):
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _delivered(self, ready: ArtifactReady) -> None:
        """A delivery is a hint to lease one row; the row already taken or written needs nothing.

        Nor does one that cannot be leased because the database is away: the poll finds it when it is back.
        """
        if self._stopping.is_set():
            return
        await self._slots.acquire()
        writing = await self._take(UUID(ready.artifact_id), 0.0)
        self._metrics.delivered(accepted=writing is not None)
        if writing is not None:
            # Shielded: a lost connection ends the delivery, not the write, which keeps its slot to its end.
            await asyncio.shield(writing)

    async def _take(self, artifact_id: UUID | None, min_age_seconds: float) -> asyncio.Task[None] | None:
        """Lease one artifact and start to write it in the slot that the caller acquired; else give the slot back."""
        claimed: list[StagedArtifact] = []
        try:
            claimed = await self._artifacts.claim(
                artifact_id=artifact_id,
                quantity=1,
                lease_seconds=self._lease_seconds,
                min_age_seconds=min_age_seconds,
            )
        except DatabaseUnavailableError:
            return None
        finally:
            if not claimed:
                self._slots.release()
        return self._start(claimed[0]) if claimed else None

    def _start(self, artifact: StagedArtifact) -> asyncio.Task[None]:
        task = asyncio.create_task(self._write(artifact))
        self._writing.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        self._slots.release()

    async def _write(self, artifact: StagedArtifact) -> None:
        try:
            await self._writer.write(artifact)
        except DatabaseUnavailableError:
            log.warning("The write could not be recorded; it is repeated when the lease ends")
        except Exception:
            log.exception("The result of the write could not be recorded; it is repeated when the lease ends")
