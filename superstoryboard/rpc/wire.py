"""Requests as bytes: what is refused before anything is parsed, and parsing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from superstoryboard.rpc.errors import ApiError, invalid

MEBIBYTE = 1024 * 1024
SMALL_BYTES = 64 * 1024
"""Bytes that cannot hold so many elements that parsing them would hurt."""
MAX_ELEMENTS = 1000
"""The longest list that any request may have."""

_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_LONGEST_VARINT = 10


def parse(raw: bytes, deserialize: Callable[[bytes], Message], limit_bytes: int) -> Message:
    """The request in these bytes.

    Raises:
        ApiError: RESOURCE_EXHAUSTED, it has more bytes than the limit; INVALID_ARGUMENT, a list is too long or the
            bytes are no such message.
    """
    if len(raw) > limit_bytes:
        raise ApiError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "REQUEST_TOO_LARGE",
            f"the request has {len(raw)} bytes; at most {limit_bytes} are allowed",
        )
    expected: Any = getattr(deserialize, "__self__", None)
    descriptor = getattr(expected, "DESCRIPTOR", None)
    name = descriptor.name if descriptor is not None else "request"
    try:
        crowded = _crowded_field(raw) if len(raw) > SMALL_BYTES else None
        if crowded is None:
            return deserialize(raw)
    except (DecodeError, ValueError) as error:
        reason = str(error).rpartition(": ")[2]
        raise invalid([("request", f"is not a valid {name} in protobuf encoding: {reason}")]) from None
    field = descriptor.fields_by_number.get(crowded) if descriptor is not None else None
    raise invalid(
        [(field.name if field is not None else f"field {crowded}", f"must contain at most {MAX_ELEMENTS} items")]
    )


def _crowded_field(raw: bytes) -> int | None:
    """Number of the first field that occurs too often. It stops there, so that bytes without end cost little.

    Raises:
        ValueError: the bytes are no message.
    """
    counts: Counter[int] = Counter()
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, form = tag >> 3, tag & 7
        counts[number] += 1
        if counts[number] > MAX_ELEMENTS or len(counts) > MAX_ELEMENTS:
            return number
        if form == _VARINT:
            _, at = _varint(raw, at)
        elif form == _DELIMITED:
            length, at = _varint(raw, at)
            at += length
        elif form in _FIXED:
            at += _FIXED[form]
        else:
            raise ValueError("Wire format was corrupt")
    return None


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(raw[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("Wire format was corrupt")
