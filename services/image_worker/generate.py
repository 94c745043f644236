"""One attempt at an image: source, ledger, call, proof that the bytes are an image, hand-off."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from superstoryboard.jobs.artifacts import ArtifactFacts
from superstoryboard.jobs.errors import ProviderFailure
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.work import ClaimedJob, WorkQueue
from superstoryboard.media.types import MediaError, MediaFacts
from superstoryboard.media.verify import verify_bytes
from superstoryboard.providers.errors import damaged_image
from superstoryboard.providers.gemini_images import GeminiImages, ImageCall
from superstoryboard.providers.source import SourceFetcher, SourceImage
from superstoryboard.runtime.adoption import Adoption
from superstoryboard.runtime.checkpoints import reached
from superstoryboard.runtime.handoff import HandOff
from superstoryboard.runtime.intents import Intents
from superstoryboard.runtime.paid_calls import counted
from superstoryboard.telemetry.work_metrics import CallMetrics
from superstoryboard.v1.job_pb2 import ImageGeneration

ROUTE = "gemini_image"


class ImageGenerator:
    """Makes images of claimed jobs."""

    def __init__(
        self,
        *,
        work: WorkQueue,
        adoption: Adoption,
        ledger: Ledger,
        sources: SourceFetcher,
        provider: GeminiImages,
        hand_off: HandOff,
        metrics: CallMetrics,
        timeout_seconds: float,
    ) -> None:
        self._work = work
        self._adoption = adoption
        self._ledger = ledger
        self._intents = Intents(work, ledger)
        self._sources = sources
        self._provider = provider
        self._hand_off = hand_off
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds

    async def generate(self, job: ClaimedJob) -> str:
        """One attempt; answers the job's state after the hand-off.

        Raises:
            JobFailure: the attempt failed; the class decides what follows.
            StaleClaimError: the job belongs to someone else by now.
        """
        await reached("claimed")
        generation = await self._adoption.generation(job)
        if not isinstance(generation, ImageGeneration):
            raise TypeError(f"an image job holds {type(generation).__name__}")
        if job.upload is not None:
            rescued = await self._hand_off.rescue(job, job.upload)
            if rescued is not None:
                return rescued
        source = await self._sources.fetch(generation.source_image_url) if generation.source_image_url else None
        data, facts = await self._call(job, generation, source)
        await reached("answered")
        return await self._hand_over(job, generation, data, facts)

    async def _call(
        self, job: ClaimedJob, generation: ImageGeneration, source: SourceImage | None
    ) -> tuple[bytes, MediaFacts]:
        """Send the call between two entries of the ledger.

        A good answer is settled with the hand-off: only then its bytes are safe.
        """
        await self._work.report(job, 20, "The model draws")
        call_id = await self._intents.open(job, generation, source, ROUTE)
        call = ImageCall(
            model=generation.model,
            prompt=generation.prompt,
            aspect_ratio=generation.aspect_ratio or None,
            sources=(source,) if source else (),
        )
        try:
            with counted(self._metrics, generation.model):
                data = await self._provider.generate(call, timeout_seconds=self._timeout_seconds)
                return data, await _verified(data)
        except ProviderFailure as failure:
            await self._ledger.settle(call_id, failure)
            raise

    async def _hand_over(self, job: ClaimedJob, generation: ImageGeneration, data: bytes, facts: MediaFacts) -> str:
        with tempfile.TemporaryDirectory(prefix="image-") as folder:
            file = Path(folder) / "artifact"
            await asyncio.to_thread(file.write_bytes, data)
            return await self._hand_off.hand_over(
                job,
                generation,
                file,
                ArtifactFacts(
                    media_type=facts.media_type.value,
                    extension=facts.media_type.extension,
                    size_bytes=facts.size_bytes,
                    sha256=facts.sha256,
                    width=facts.width,
                    height=facts.height,
                ),
            )


async def _verified(data: bytes) -> MediaFacts:
    """Refuse bytes that no image decoder reads: paid for, and of no use."""
    try:
        return await verify_bytes(data, "image")
    except MediaError as error:
        raise damaged_image() from error
