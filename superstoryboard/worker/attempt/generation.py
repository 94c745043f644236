"""What a claimed job asks for: frozen at accept, or found in the raw body of an adopted message."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from superstoryboard.domain.kinds import KINDS
from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.providers.bodies import parse_body
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.validation import freeze_body, read_body
from superstoryboard.providers.wording import hide_prompt
from superstoryboard.v1.job_pb2 import ImageGeneration, VideoGeneration
from superstoryboard.worker.attempt.errors import StaleClaimError

Generation = ImageGeneration | VideoGeneration
AnyMessage = TypeVar("AnyMessage", bound=Message)


class Adoption:
    """Validates raw bodies with the rules of ingest and freezes what they ask for.

    With `show_prompts` texts of providers may repeat the prompt, in errors and so in events and logs.
    """

    def __init__(
        self, work: WorkQueue, catalogue: Catalogue, default_model: str, *, show_prompts: bool = False
    ) -> None:
        self._show_prompts = show_prompts
        self._work = work
        self._catalogue = catalogue
        self._default_model = default_model

    async def generation(self, job: ClaimedJob, expected: type[AnyMessage]) -> AnyMessage:
        """The frozen generation of a job, which is of the `expected` type. Its prompt is hidden for the attempt.

        Raises:
            JobFailure: INVALID, naming every wrong key of the body and its rule.
            StaleClaimError: the job belongs to someone else by now.
            TypeError: jobs of this kind hold another type: they came to the wrong worker.
        """
        if job.generation is not None:
            frozen = KINDS[job.kind].message()
            ParseDict(job.generation, frozen, ignore_unknown_fields=True)
        else:
            frozen, provider, name, warning = self._frozen(job)
            if not await self._work.freeze(job, MessageToDict(frozen), provider, name, [warning] if warning else []):
                raise StaleClaimError
        if not isinstance(frozen, expected):
            raise TypeError(f"a job of kind {job.kind} holds {type(frozen).__name__}")
        if not self._show_prompts:
            hide_prompt(getattr(frozen, "prompt", ""))
        return frozen

    def _frozen(self, job: ClaimedJob) -> tuple[Message, str, str, str | None]:
        """What a raw body asks for, with provider, model and a warning about it; a kind without charge has none."""
        body = parse_body(job.raw_body)
        if not KINDS[job.kind].charged:
            return read_body(job.kind, body), "", "", None
        frozen, model = freeze_body(job.kind, body, self._catalogue, self._default_model)
        return frozen, model.provider, model.name, model.retirement_warning()
