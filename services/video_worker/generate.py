"""One attempt at a video: ledger, submit once, poll, download, proof, hand-off. Resumes what was paid for."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from services.video_worker.routes import VideoRoutes
from superstoryboard.jobs.errors import CallOutcome, ErrorClass, JobError, JobFailure, ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.work import ClaimedJob, Operation, WorkQueue
from superstoryboard.media.types import MediaError, MediaFacts
from superstoryboard.media.verify import verify_file
from superstoryboard.providers.source import SourceFetcher, SourceImage
from superstoryboard.providers.video import OperationDone, VideoCall, VideoProvider
from superstoryboard.runtime.adoption import Adoption
from superstoryboard.runtime.checkpoints import reached
from superstoryboard.runtime.handoff import HandOff, facts_of
from superstoryboard.runtime.intents import Intents
from superstoryboard.runtime.paid_calls import counted, recorded, to_the_end
from superstoryboard.runtime.worker import ReleasedError, StaleClaimError, StillRunningError
from superstoryboard.telemetry.work_metrics import CallMetrics
from superstoryboard.v1.job_pb2 import VideoGeneration

TIMED_OUT = "Video generation timed out after 6 minutes"
"""SPEC A5, to the letter."""
LATE_POLL_MAX_SECONDS = 3600


@dataclass(frozen=True)
class Times:
    """Seconds between polls, seconds until the attempt gives up, and the largest video in bytes."""

    poll_seconds: float
    timeout_seconds: float
    max_bytes: int


class VideoGenerator:
    """Makes videos of claimed jobs."""

    def __init__(
        self,
        *,
        work: WorkQueue,
        adoption: Adoption,
        ledger: Ledger,
        sources: SourceFetcher,
        routes: VideoRoutes,
        hand_off: HandOff,
        metrics: CallMetrics,
        times: Times,
        draining: asyncio.Event,
    ) -> None:
        self._work = work
        self._adoption = adoption
        self._ledger = ledger
        self._intents = Intents(work, ledger)
        self._sources = sources
        self._routes = routes
        self._hand_off = hand_off
        self._metrics = metrics
        self._times = times
        self._draining = draining

    async def generate(self, job: ClaimedJob) -> str:
        """One attempt; answers the job's state after the hand-off.

        Raises:
            JobFailure: the attempt failed; the class decides what follows.
            StaleClaimError: the job belongs to someone else by now.
            ReleasedError: the worker drains while the provider's operation runs.
            StillRunningError: the operation goes on beyond the time of an attempt.
        """
        await reached("claimed")
        generation = await self._adoption.generation(job)
        if not isinstance(generation, VideoGeneration):
            raise TypeError(f"a video job holds {type(generation).__name__}")
        operation = job.operation or await self._submit(job, generation)
        await reached("accepted")
        provider = self._routes.provider(operation.route)
        done = await self._poll(job, operation, provider)
        await reached("operation-done")
        with tempfile.TemporaryDirectory(prefix="video-") as folder:
            file = Path(folder) / "artifact"
            await self._download(operation, provider, done, file)
            return await self._hand_over(job, generation, file)

    async def _submit(self, job: ClaimedJob, generation: VideoGeneration) -> Operation:
        """Send the one paid call. Its name is kept even where the claim is lost or the worker is told to stop."""
        route = self._routes.route_of(generation.model)
        source = await self._sources.fetch(generation.source_image_url) if generation.source_image_url else None
        intent = await self._intents.open(job, generation, source, route)
        await reached("intended")
        name = await to_the_end(self._send(intent.call_id, route, _call(generation, source)))
        await self._work.report(job, 15, "The model films")
        return Operation(intent.call_id, route, generation.model, name, 0.0)

    async def _send(self, call_id: int, route: str, call: VideoCall) -> str:
        provider = self._routes.provider(route)
        with counted(self._metrics, call.model):
            name = await recorded(self._ledger, call_id, provider.submit(call), CallOutcome.UNKNOWN)
        await reached("named")
        await self._ledger.accept(call_id, name)
        return name

    async def _poll(self, job: ClaimedJob, operation: Operation, provider: VideoProvider) -> OperationDone:
        accepted = time.monotonic() - operation.age_seconds
        while True:
            try:
                status = await provider.poll(operation.name)
            except ProviderFailure as failure:
                await self._polling_failed(operation, failure)
                status = None
            age = time.monotonic() - accepted
            if isinstance(status, OperationDone):
                self._metrics.operation_done(operation.model, age)
                return status
            if age >= self._times.timeout_seconds:
                raise self._timed_out(age)
            percent = min(85, 15 + int(70 * age / self._times.timeout_seconds))
            if not await self._work.report(job, percent, "The model films"):
                raise StaleClaimError
            await self._wait()

    async def _polling_failed(self, operation: Operation, failure: ProviderFailure) -> None:
        """A poll that could not be answered is repeated; an operation that ended without a video is settled."""
        if failure.outcome is CallOutcome.UNKNOWN:
            return
        await self._ledger.settle(operation.call_id, failure)
        raise failure

    def _timed_out(self, age_seconds: float) -> StillRunningError:
        error = JobError(ErrorClass.TRANSIENT, "VIDEO_TIMED_OUT", TIMED_OUT)
        gap = max(self._times.poll_seconds, age_seconds / 4)
        return StillRunningError(error, int(min(gap, LATE_POLL_MAX_SECONDS)) or 1)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._times.poll_seconds):
                await self._draining.wait()
        except TimeoutError:
            return
        raise ReleasedError

    async def _hand_over(self, job: ClaimedJob, generation: VideoGeneration, file: Path) -> str:
        facts = await asyncio.to_thread(_verify, file)
        await reached("downloaded")
        return await self._hand_off.hand_over(job, generation, file, facts_of(facts))

    async def _download(self, operation: Operation, provider: VideoProvider, done: OperationDone, file: Path) -> None:
        """A download that fails leaves the operation ACCEPTED, to be fetched again unpaid; unless the video is gone."""
        try:
            await provider.download(done.uri, file, self._times.max_bytes)
        except ProviderFailure as failure:
            if failure.error.error_class.final or failure.error.error_class is ErrorClass.UNKNOWN_OUTCOME:
                await self._ledger.settle(operation.call_id, failure)
            raise


def _verify(file: Path) -> MediaFacts:
    try:
        return verify_file(file)
    except MediaError as error:
        raise JobFailure(
            JobError(ErrorClass.TRANSIENT, "NOT_A_VIDEO", f"the download is no readable video: {error}")
        ) from error


def _call(generation: VideoGeneration, source: SourceImage | None) -> VideoCall:
    return VideoCall(
        model=generation.model,
        prompt=generation.prompt,
        aspect_ratio=generation.aspect_ratio,
        duration_seconds=int(generation.duration_seconds),
        resolution=generation.resolution,
        image=source,
    )
