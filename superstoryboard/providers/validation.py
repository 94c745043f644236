"""What a generation may ask for: SPEC A2's normalisation, the protos' constraints and the catalogue's limits.

Every check reports all broken rules at once. Nothing here raises on a hostile body except `InvalidGeneration`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from protovalidate import Validator

from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.domain.kinds import KINDS, kind_of_message
from superstoryboard.domain.media import Media
from superstoryboard.providers.catalogue import Catalogue, Model, UnknownModel
from superstoryboard.providers.routes import ROUTES
from superstoryboard.providers.source_url import url_problem

AnyMessage = TypeVar("AnyMessage", bound=Message)
Style = Literal["proto", "json"]

INVALID_ARGUMENT = "INVALID_ARGUMENT"
MODEL_RETIRED = "MODEL_RETIRED"

_EXACT_INTEGERS = 2**53
_LARGEST_NUMBER = 10**1000
_validator = Validator()


@dataclass(frozen=True)
class Violation:
    """One broken rule: the field, the rule as the end of a sentence that begins with the field, and a code."""

    field: str
    description: str
    code: str = INVALID_ARGUMENT


class InvalidGeneration(JobFailure):
    """The request cannot work as it is; `error` is ready for the job's record."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        codes = {violation.code for violation in violations}
        code = MODEL_RETIRED if codes == {MODEL_RETIRED} else INVALID_ARGUMENT
        super().__init__(JobError(ErrorClass.INVALID, code, describe(violations)))
        self.violations = tuple(violations)


def describe(violations: Sequence[Violation]) -> str:
    """All violations as one sentence: "prompt must not be empty; durationSeconds must be one of 4, 6, 8"."""
    return "; ".join(f"{violation.field} {violation.description}" for violation in violations)


def normalise_body(kind: str, raw: object) -> dict[str, str | bool]:
    """A message body by SPEC A2: numbers become strings, null is absent, unknown keys are dropped.

    Raises:
        InvalidGeneration: it is no object, or a value has a type that cannot be meant.
    """
    body, violations = _normalise(kind, raw)
    if violations:
        raise InvalidGeneration(violations)
    return body


def parse_generation(kind: str, raw: object) -> Message:
    """The message of a body of a kind; its values are not validated yet.

    Raises:
        InvalidGeneration: as `normalise_body`.
    """
    return _filled(kind, normalise_body(kind, raw))


def validate_generation(
    message: Message, catalogue: Catalogue, default_model: str, *, style: Style = "proto"
) -> list[Violation]:
    """Every broken rule of what a job of a charged kind asks for; empty where it can be accepted.

    `default_model` is judged where the message names none. Fields are named as in the protos (`duration_seconds`) or
    as in JSON (`durationSeconds`).
    """
    violations = [
        *_constraint_violations(message),
        *_nul_violations(message),
        *_url_violations(message),
        *_model_violations(message, catalogue, default_model),
    ]
    return [_styled(violation, message, style) for violation in dict.fromkeys(violations)]


def freeze_generation(message: AnyMessage, catalogue: Catalogue, default_model: str) -> tuple[AnyMessage, Model]:
    """A copy of a valid message with the defaults of its model filled in, so that later settings do not change the job.

    Also returns that model. An edit keeps an empty aspect ratio: the picture keeps its own.
    """
    model = catalogue.get(_asked(message, "model") or default_model)
    defaults = {"duration_seconds": model.default_duration, "resolution": model.default_resolution}
    if not _asked(message, "edit_mode"):
        defaults["aspect_ratio"] = model.default_aspect_ratio
    frozen = copy.deepcopy(message)
    for field in message.DESCRIPTOR.fields_by_name.keys() & defaults.keys():
        setattr(frozen, field, _asked(message, field) or defaults[field])
    setattr(frozen, "model", model.name)  # noqa: B010 - a field of every message of a charged kind
    return frozen, model


def freeze_body(kind: str, raw: object, catalogue: Catalogue, default_model: str) -> tuple[Message, Model]:
    """From a raw queue message to its frozen generation and its model: normalise, parse, validate, freeze.

    Raises:
        InvalidGeneration: with every broken rule of the body, fields named as in JSON.
    """
    body, wrong_types = _normalise(kind, raw)
    if not isinstance(raw, dict):
        raise InvalidGeneration(wrong_types)
    message = _filled(kind, body)
    reported = {violation.field for violation in wrong_types}
    rules = validate_generation(message, catalogue, default_model, style="json")
    violations = [*wrong_types, *(rule for rule in rules if rule.field not in reported)]
    if violations:
        raise InvalidGeneration(violations)
    return freeze_generation(message, catalogue, default_model)


def read_body(kind: str, raw: object) -> Message:
    """From a raw queue message to what it asks for, of a kind without a model: normalise, parse, validate.

    Raises:
        InvalidGeneration: with every broken rule of the body, fields named as in JSON.
    """
    body, violations = _normalise(kind, raw)
    message = _filled(kind, body)
    if not violations:
        rules = (*_constraint_violations(message), *_nul_violations(message))
        violations = [_styled(rule, message, "json") for rule in dict.fromkeys(rules)]
    if violations:
        raise InvalidGeneration(violations)
    return message


def _normalise(kind: str, raw: object) -> tuple[dict[str, str | bool], list[Violation]]:
    if not isinstance(raw, dict):
        return {}, [Violation("body", "must be a JSON object")]
    body: dict[str, str | bool] = {}
    violations: list[Violation] = []
    for field in KINDS[kind].message.DESCRIPTOR.fields:
        value = raw.get(field.json_name)
        if value is None:
            continue
        try:
            body[field.json_name] = _flag(value) if field.type == FieldDescriptor.TYPE_BOOL else _text(value)
        except TypeError as error:
            violations.append(Violation(field.json_name, str(error)))
    return body, violations


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _text(value: object) -> str:
    text = value if isinstance(value, str) else _number_text(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise TypeError("must be valid Unicode text") from None
    return text


def _number_text(value: object) -> str:
    """8 and 8.0 are both "8"; what JSON cannot carry, or no field can mean, is no number."""
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT_INTEGERS else str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER:
        return str(value)
    raise TypeError("must be a string")


def _filled(kind: str, body: Mapping[str, str | bool]) -> Message:
    message = KINDS[kind].message()
    for field in message.DESCRIPTOR.fields:
        if field.json_name in body:
            setattr(message, field.name, body[field.json_name])
    return message


def _asked(message: Message, field: str) -> Any:
    """What a message says in a field; empty where messages of its kind have no such field."""
    return getattr(message, field) if field in message.DESCRIPTOR.fields_by_name else ""


def _constraint_violations(message: Message) -> Iterator[Violation]:
    for violation in _validator.collect_violations(message):
        rule = violation.proto
        elements = rule.field.elements if rule.field is not None else ()
        # A rule of the whole message carries the field it is about as its id.
        name = ".".join(element.field_name for element in elements) or rule.rule_id
        yield Violation(name, rule.message)


def _nul_violations(message: Message) -> Iterator[Violation]:
    for field, value in message.ListFields():
        if isinstance(value, str) and "\0" in value:
            yield Violation(field.name, "must not contain U+0000")


def _url_violations(message: Message) -> Iterator[Violation]:
    url = _asked(message, "source_image_url")
    problem = url_problem(url) if url else None
    if problem is not None:
        yield Violation("source_image_url", problem)


def _model_violations(message: Message, catalogue: Catalogue, default_model: str) -> Iterator[Violation]:
    kind = kind_of_message(message).name
    name = _asked(message, "model") or default_model
    try:
        model = catalogue.get(name)
    except UnknownModel:
        model = None
    if model is None or model.kind != kind:
        known = ", ".join(each.name for each in catalogue.models(kind) if not each.refuse)
        yield Violation("model", f"must be one of {known}")
        # The default's limits stand in, so that the caller learns of the other mistakes too.
        model = catalogue.get(catalogue.default_name(kind))
    elif model.refuse:
        yield Violation("model", f"names an unavailable model: {model.refusal}", MODEL_RETIRED)
    length = len(_asked(message, "prompt"))
    if length > model.prompt_max_characters:
        yield Violation("prompt", f"must be at most {model.prompt_max_characters} characters, is {length}")
    yield from _choice("aspect_ratio", _asked(message, "aspect_ratio"), model.aspect_ratios)
    yield from _length_violations(message, model)
    is_reference = ROUTES[model.route].makes is Media.IMAGE  # a video begins with it
    if is_reference and model.reference_images_max == 0 and _asked(message, "source_image_url"):
        yield Violation("source_image_url", f"is not supported by model {model.name}")


def _length_violations(message: Message, model: Model) -> Iterator[Violation]:
    duration = _asked(message, "duration_seconds") or model.default_duration
    resolution = _asked(message, "resolution") or model.default_resolution
    yield from _choice("duration_seconds", duration, model.durations)
    yield from _choice("resolution", resolution, model.resolutions)
    allowed = model.resolution_durations.get(resolution)
    if allowed is not None and duration not in allowed:
        yield Violation("resolution", f"{resolution} needs duration_seconds {' or '.join(allowed)}")


def _choice(field: str, value: str, allowed: Sequence[str]) -> Iterator[Violation]:
    if value and value not in allowed:
        yield Violation(field, f"must be one of {', '.join(allowed)}" if allowed else "is not supported by this model")


def _styled(violation: Violation, message: Message, style: Style) -> Violation:
    """The protos' field names by default; in JSON style also those that a description mentions."""
    if style == "proto":
        return violation
    field, description = violation.field, violation.description
    for each in message.DESCRIPTOR.fields:
        if each.name == field:
            field = each.json_name
        if "_" in each.name:
            description = description.replace(each.name, each.json_name)
    return Violation(field, description, violation.code)
