"""What a claimed job asks for: frozen at accept, or found in the raw body of an adopted message."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict, ParseDict

from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.providers.bodies import parse_body
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.validation import freeze_body
from superstoryboard.v1.job_pb2 import ImageGeneration, VideoGeneration
from superstoryboard.worker.attempt.errors import StaleClaimError

Generation = ImageGeneration | VideoGeneration


class Adoption:
    """Validates raw bodies with the rules of ingest and freezes what they ask for."""

    def __init__(self, work: WorkQueue, catalogue: Catalogue, default_model: str) -> None:
        self._work = work
        self._catalogue = catalogue
        self._default_model = default_model

    async def generation(self, job: ClaimedJob) -> Generation:
        """The frozen generation of a job.

        Raises:
            JobFailure: INVALID, naming every wrong key of the body and its rule.
            StaleClaimError: the job belongs to someone else by now.
        """
        if job.generation is not None:
            message: Generation = ImageGeneration() if job.kind == "image" else VideoGeneration()
            ParseDict(job.generation, message, ignore_unknown_fields=True)
            return message
        frozen = freeze_body(job.kind, parse_body(job.raw_body), self._catalogue, self._default_model)
        model = self._catalogue.get(frozen.model)
        warning = model.retirement_warning()
        kept = await self._work.freeze(
            job, MessageToDict(frozen), model.provider, model.name, [warning] if warning else []
        )
        if not kept:
            raise StaleClaimError
        return frozen
