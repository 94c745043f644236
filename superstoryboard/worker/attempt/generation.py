"""What a claimed job asks for: frozen at accept, or found in the raw body of an adopted message."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from superstoryboard.domain.kinds import KINDS
from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.providers.bodies import parse_body
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.validation import freeze_body, read_body
from superstoryboard.v1.job_pb2 import ImageGeneration, VideoGeneration
from superstoryboard.worker.attempt.errors import StaleClaimError

Generation = ImageGeneration | VideoGeneration


class Adoption:
    """Validates raw bodies with the rules of ingest and freezes what they ask for."""

    def __init__(self, work: WorkQueue, catalogue: Catalogue, default_model: str) -> None:
        self._work = work
        self._catalogue = catalogue
        self._default_model = default_model

    async def generation(self, job: ClaimedJob) -> Message:
        """The frozen generation of a job.

        Raises:
            JobFailure: INVALID, naming every wrong key of the body and its rule.
            StaleClaimError: the job belongs to someone else by now.
        """
        if job.generation is not None:
            message = KINDS[job.kind].message()
            ParseDict(job.generation, message, ignore_unknown_fields=True)
            return message
        frozen, provider, name, warning = self._frozen(job)
        if not await self._work.freeze(job, MessageToDict(frozen), provider, name, [warning] if warning else []):
            raise StaleClaimError
        return frozen

    def _frozen(self, job: ClaimedJob) -> tuple[Message, str, str, str | None]:
        """What a raw body asks for, with provider, model and a warning about it; a kind without charge has none."""
        body = parse_body(job.raw_body)
        if not KINDS[job.kind].charged:
            return read_body(job.kind, body), "", "", None
        frozen = freeze_body(job.kind, body, self._catalogue, self._default_model)
        model = self._catalogue.get(frozen.model)
        return frozen, model.provider, model.name, model.retirement_warning()
