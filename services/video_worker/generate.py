"""One attempt at a video: ledger, submit once, poll, download, proof, hand-off. Resumes what was paid for."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, JobFailure
from superstoryboard.domain.media import Media, MediaFacts
from superstoryboard.domain.routes import RouteShape
from superstoryboard.jobs.queue import ClaimedJob, Operation
from superstoryboard.media.types import MediaError
from superstoryboard.media.verify import verify
from superstoryboard.process.checkpoints import reached
from superstoryboard.providers.routes import Call, OperationRoute
from superstoryboard.providers.source import SourceImage
from superstoryboard.v1.job_pb2 import VideoGeneration
from superstoryboard.worker.attempt.errors import ReleasedError
from superstoryboard.worker.attempt.handoff import Result
from superstoryboard.worker.attempt.intent import Intents
from superstoryboard.worker.attempt.paid_calls import counted, recorded, to_the_end
from superstoryboard.worker.attempt.shapes import failures_of
from superstoryboard.worker.attempt.sources import fetch_source
from superstoryboard.worker.tools import Tools

from .polling import Poller, Times
from .search import OperationSearch, Submits, mark_of


class VideoGenerator:
    """Makes videos of claimed jobs."""

    def __init__(
        self, tools: Tools[OperationRoute], operation_search: OperationSearch, times: Times, draining: asyncio.Event
    ) -> None:
        self._tools = tools
        self._intents = Intents(tools.work, tools.ledger)
        self._operation_search = operation_search
        self._draining = draining
        self._poller = Poller(
            tools.work, tools.ledger, tools.metrics, times, draining, usual_seconds=tools.routes.usual_seconds
        )

    async def generate(self, job: ClaimedJob) -> str:
        """One attempt; returns the job's state after the hand-off.

        Raises:
            JobFailure: the attempt failed; the class decides what follows.
            StaleClaimError: the job belongs to someone else by now.
            ReleasedError: the worker drains while the provider's operation runs.
            StillRunningError: the operation goes on beyond the time of an attempt.
            DeadLetterError: it is unknown whether an operation was accepted, or no further call may be paid.
        """
        with failures_of(RouteShape.OPERATION):
            return await self._attempt(job)

    async def _attempt(self, job: ClaimedJob) -> str:
        await reached("claimed")
        generation = await self._tools.adoption.generation(job, VideoGeneration)
        if job.lost is not None:
            operation = await self._operation_search.recover(job, job.lost, generation)
        else:
            operation = job.operation or await self._submit(job, generation)
        await reached("accepted")
        if self._draining.is_set():
            raise ReleasedError
        provider = self._tools.routes.provider(operation.route)
        done = await self._poller.done(job, operation, provider)
        await reached("operation-done")
        with tempfile.TemporaryDirectory(prefix="video-") as folder:
            file = Path(folder) / "artifact"
            await self._poller.download(operation, provider, done, file)
            return await self._hand_over(job, file)

    async def _submit(self, job: ClaimedJob, generation: VideoGeneration) -> Operation:
        """Send the one paid call. Its name is kept even where the claim is lost or the worker is told to stop."""
        route = self._tools.routes.route_of(generation.model)
        source = await fetch_source(self._tools.work, self._tools.sources, job, generation.source_image_url)
        submits = self._operation_search.submits(route)
        intent = await self._intents.open(job, generation, source, route, submits.expect)
        await reached("intended")
        call = _call(generation, source, mark_of(job.id, intent.call_id))
        name = await to_the_end(self._send(intent.call_id, route, call, submits))
        return Operation(intent.call_id, route, generation.model, name, 0.0)

    async def _send(self, call_id: int, route: str, call: Call, submits: Submits) -> str:
        provider = self._tools.routes.provider(route)
        with counted(self._tools.metrics, call.model):
            name = await recorded(submits, call_id, provider.submit(call), CallOutcome.UNKNOWN)
        await reached("named")
        await self._tools.ledger.accept(call_id, name)
        return name

    async def _hand_over(self, job: ClaimedJob, file: Path) -> str:
        facts = await _verified(file)
        await reached("downloaded")
        return await self._tools.hand_off.hand_over(job, [Result(file, facts)])


async def _verified(file: Path) -> MediaFacts:
    try:
        return await verify(file, Media.VIDEO)
    except MediaError as error:
        raise JobFailure(
            JobError(ErrorClass.TRANSIENT, "NOT_A_VIDEO", f"The downloaded file cannot be decoded as a video: {error}")
        ) from error


def _call(generation: VideoGeneration, source: SourceImage | None, mark: Mapping[str, str]) -> Call:
    return Call(
        model=generation.model,
        prompt=generation.prompt,
        aspect_ratio=generation.aspect_ratio,
        duration_seconds=int(generation.duration_seconds),
        resolution=generation.resolution,
        sources=(source,) if source else (),
        mark=mark,
    )
