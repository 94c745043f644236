"""One attempt at an image: source, ledger, call, proof that the bytes are an image, hand-off."""

from __future__ import annotations

from superstoryboard.domain.errors import CallOutcome
from superstoryboard.domain.media import Media, MediaFacts
from superstoryboard.domain.routes import RouteShape
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.media.types import MediaError
from superstoryboard.media.verify import verify_bytes
from superstoryboard.process.checkpoints import reached
from superstoryboard.providers.google.results import damaged_image
from superstoryboard.providers.routes import AnswerRoute, Call
from superstoryboard.providers.source import SourceImage
from superstoryboard.v1.job_pb2 import ImageGeneration
from superstoryboard.worker.attempt.intent import Intent, Intents
from superstoryboard.worker.attempt.paid_calls import counted, recorded, to_the_end
from superstoryboard.worker.attempt.shapes import failures_of
from superstoryboard.worker.attempt.sources import fetch_source
from superstoryboard.worker.tools import Tools


class ImageGenerator:
    """Makes images of claimed jobs."""

    def __init__(self, tools: Tools[AnswerRoute], timeout_seconds: float) -> None:
        self._tools = tools
        self._intents = Intents(tools.work, tools.ledger)
        self._timeout_seconds = timeout_seconds

    async def generate(self, job: ClaimedJob) -> str:
        """One attempt; returns the job's state after the hand-off.

        Raises:
            JobFailure: the attempt failed; the class decides what follows.
            StaleClaimError: the job belongs to someone else by now.
            WaitsError: what an earlier call may have left in staging cannot be read yet.
            DeadLetterError: no further call may be paid, or Storage refuses the image for good.
        """
        with failures_of(RouteShape.ANSWER):
            return await self._attempt(job)

    async def _attempt(self, job: ClaimedJob) -> str:
        await reached("claimed")
        generation = await self._tools.adoption.generation(job, ImageGeneration)
        if job.upload is not None:
            return await self._tools.hand_off.rescue(job, job.upload)
        route = self._tools.routes.route_of(generation.model)
        source = await fetch_source(self._tools.work, self._tools.sources, job, generation.source_image_url)
        await self._tools.work.report(job, 20, "Generating image")
        intent = await self._intents.open(job, generation, source, route)
        return await to_the_end(self._make(job, generation, source, route, intent))

    async def _make(
        self, job: ClaimedJob, generation: ImageGeneration, source: SourceImage | None, route: str, intent: Intent
    ) -> str:
        """From the call to the hand-off; a good answer is settled with the hand-off: only then its bytes are safe."""
        call = Call(
            model=generation.model,
            prompt=generation.prompt,
            aspect_ratio=generation.aspect_ratio,
            sources=(source,) if source else (),
        )
        with counted(self._tools.metrics, generation.model):
            answer = self._tools.routes.provider(route).generate(call, timeout_seconds=self._timeout_seconds)
            data = await recorded(self._tools.ledger, intent.call_id, answer, CallOutcome.UNKNOWN)
            facts = await recorded(self._tools.ledger, intent.call_id, _measure(data), CallOutcome.PAID)
        await reached("answered")
        return await self._tools.hand_off.hand_over_answer(job, intent, data, facts)


async def _measure(data: bytes) -> MediaFacts:
    """What the bytes are. In memory: a full disk must not lose them.

    Raises:
        ProviderFailure: no image decoder reads them; they are paid for and of no use.
    """
    try:
        image = await verify_bytes(data, Media.IMAGE)
    except MediaError as error:
        raise damaged_image() from error
    return image
