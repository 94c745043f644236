"""From create requests to submissions: every broken rule at once, everything frozen."""

from __future__ import annotations

import hashlib
import math
import time
from copy import deepcopy
from typing import Protocol

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from superstoryboard.domain.kinds import charged_kinds, kind_of_request
from superstoryboard.domain.priorities import Priority
from superstoryboard.jobs.store import FrozenGeneration, Submission
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.own_objects import private_storyboard
from superstoryboard.providers.validation import freeze_generation, validate_generation
from superstoryboard.rpc.errors import invalid
from superstoryboard.rpc.tokens import Principal
from superstoryboard.rpc.tracing import traceparent
from superstoryboard.rpc.validation import violations
from superstoryboard.v1 import generation_service_pb2 as api

MAX_SCHEDULE_SECONDS = 366 * 24 * 3600

CreateRequest = api.CreateImageJobRequest | api.CreateVideoJobRequest


class Limits(Protocol):
    """What submissions need of the settings."""

    image_model: str
    video_model: str
    max_attempts: int | None
    supabase_url: str | None
    supabase_public_url: str | None
    staging_bucket: str


class Submissions:
    """Checks create requests and freezes what they ask for."""

    def __init__(self, catalogue: Catalogue, limits: Limits) -> None:
        self._catalogue = catalogue
        self._limits = limits
        self._storages = [url for url in (limits.supabase_url, limits.supabase_public_url) if url]
        self._default_models = {
            kind.name: getattr(limits, kind.model_setting.lower(), "") or catalogue.default_name(kind.name)
            for kind in charged_kinds()
        }

    def prepare(self, request: CreateRequest, who: Principal, priority: Priority) -> Submission:
        """The submission of a request of this caller.

        Raises:
            ApiError: INVALID_ARGUMENT naming every wrong field.
        """
        kind = kind_of_request(request).name
        wrong = self._violations(request, kind)
        if wrong:
            raise invalid(wrong)
        frozen = self._freeze(kind, _generation(request, kind))
        return Submission(
            kind=kind,
            owner=who.subject,
            actor=who.actor or None,
            request_id=request.request_id or None,
            submit_hash=submit_hash(request),
            generation=frozen.generation,
            provider=frozen.provider,
            model=frozen.model,
            labels=dict(request.labels),
            max_attempts=self._limits.max_attempts,
            delay_seconds=_delay(request.schedule_time),
            priority=priority,
            quota_scope=who.quota_scope,
            traceparent=traceparent(),
            warnings=frozen.warnings,
            writes_as=None if who.storyboard_names is None else list(who.storyboard_names),
            source_storyboard=private_storyboard(
                frozen.generation.get("sourceImageUrl", ""), self._storages, self._limits.staging_bucket
            ),
        )

    def freeze(self, kind: str, generation: Message) -> FrozenGeneration:
        """A generation of a kind, checked as in a create request, with everything frozen.

        Raises:
            ApiError: INVALID_ARGUMENT naming every wrong field.
        """
        wrong = self._rules(kind, generation)
        if wrong:
            raise invalid(wrong)
        return self._freeze(kind, generation)

    def _freeze(self, kind: str, generation: Message) -> FrozenGeneration:
        frozen, model = freeze_generation(generation, self._catalogue, self._default_models[kind])
        warning = model.retirement_warning()
        return FrozenGeneration(MessageToDict(frozen), model.provider, model.name, [warning] if warning else [])

    def _rules(self, kind: str, generation: Message) -> list[tuple[str, str]]:
        rules = validate_generation(generation, self._catalogue, self._default_models[kind])
        return [(f"{kind}.{violation.field}", violation.description) for violation in rules]

    def _violations(self, request: CreateRequest, kind: str) -> list[tuple[str, str]]:
        problems = [pair for pair in violations(request) if pair[0].split(".")[0] != kind or not request.HasField(kind)]
        if request.HasField(kind):
            problems += self._rules(kind, _generation(request, kind))
        is_time = all(field != "schedule_time" for field, _ in problems)
        if is_time and _delay(request.schedule_time) > MAX_SCHEDULE_SECONDS:
            problems.append(("schedule_time", "must be at most 366 days ahead"))
        return problems


def submit_hash(request: CreateRequest) -> str:
    """Fingerprint of a request as sent, its request_id aside (SPEC G3)."""
    copy = deepcopy(request)
    copy.ClearField("request_id")
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).hexdigest()


def _generation(request: CreateRequest, kind: str) -> Message:
    generation: Message = getattr(request, kind)
    return generation


def _delay(schedule_time: Timestamp) -> int:
    """Whole seconds from now until a scheduled start, never early; 0 where there is none."""
    ahead = schedule_time.seconds + schedule_time.nanos / 1e9 - time.time()
    return max(0, math.ceil(ahead))
