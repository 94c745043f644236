"""Constraints of the protos as field violations of the API."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from protovalidate import ValidationError, Validator, Violation

from superstoryboard.rpc.errors import invalid

_validator = Validator()


def violations(message: Message) -> list[tuple[str, str]]:
    """Every broken constraint of a message as (field path, rule)."""
    try:
        _validator.validate(message)
    except ValidationError as error:
        return [(_path(violation), violation.proto.message) for violation in error.violations]
    return []


def check(message: Message) -> None:
    """Refuse a request with broken constraints.

    Raises:
        ApiError: INVALID_ARGUMENT naming every field.
    """
    found = violations(message)
    if found:
        raise invalid(found)


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
