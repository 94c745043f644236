"""Constraints of the protos as field violations of the API, and what holds for every field of every request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import ValidationError, Validator, Violation

from superstoryboard.rpc.errors import invalid
from superstoryboard.v1 import validate_pb2

LATEST_SECONDS = 253_402_300_799
"""The end of the year 9999, the last that every part of the system can write down."""
NANOS = 1_000_000_000

_validator = Validator()


def violations(message: Message) -> list[tuple[str, str]]:
    """Every broken constraint of a message as (field path, rule). Lists that are too long are not looked into."""
    crowded = list(_crowded(message, ""))
    if crowded:
        return crowded
    broken = list(_unusable(message, ""))
    try:
        _validator.validate(message)
    except ValidationError as error:
        named = {field for field, _ in broken}
        rules = [(_path(violation), violation.proto.message) for violation in error.violations]
        broken += [rule for rule in rules if rule[0] not in named]
    return broken


def check(message: Message) -> None:
    """Refuse a request with broken constraints.

    Raises:
        ApiError: INVALID_ARGUMENT naming every field.
    """
    broken = violations(message)
    if broken:
        raise invalid(broken)


@lru_cache
def _longest(field: FieldDescriptor) -> int:
    """How many items a list or map may have; 0 is no limit."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return int(rules.map.max_pairs or rules.repeated.max_items)


def _crowded(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        if field.is_repeated:
            longest = _longest(field)
            if longest and len(value) > longest:
                yield f"{prefix}{field.name}", f"must contain at most {longest} items, contains {len(value)}"
        elif isinstance(value, Message):
            yield from _crowded(value, f"{prefix}{field.name}.")


def _unusable(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    """Texts and times that no constraint of a proto mentions, and that nothing behind the API can keep."""
    for field, value in message.ListFields():
        name = f"{prefix}{field.name}"
        if isinstance(value, Timestamp):
            if not (0 <= value.seconds <= LATEST_SECONDS and 0 <= value.nanos < NANOS):
                yield name, "must be a time from 1970 to 9999"
        elif isinstance(value, Message):
            yield from _unusable(value, f"{name}.")
        else:
            yield from _unusable_texts(name, value)


def _unusable_texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    texts = value.items() if isinstance(value, Mapping) else [("", value)] if isinstance(value, str) else []
    for key, text in texts:
        if "\0" in key or "\0" in text:
            yield f"{name}[{key}]" if key else name, "must not contain U+0000"


def _path(violation: Violation) -> str:
    """The field's path; for a rule of a whole message, whose id is the field it is about, that field."""
    proto = violation.proto
    elements = proto.field.elements if proto.field is not None else []
    parts = [_element(element) for element in elements]
    if proto.rule is None:
        parts.append(proto.rule_id)
    return ".".join(parts)


def _element(element: Any) -> str:
    subscript = element.subscript
    return element.field_name if subscript is None else f"{element.field_name}[{subscript.value}]"
