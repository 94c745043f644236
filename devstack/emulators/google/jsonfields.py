"""Reading of request bodies the way the service reads them: camel and snake names, both base64 alphabets."""

import base64
import binascii
import json
import re
from typing import Any

from .errors import Json, invalid


def parse_object(raw: bytes) -> Json:
    """Return the JSON object in ``raw``; raise ApiError 400."""
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise invalid("Invalid JSON payload received. The root must be an object.")
    return value


def camelized(value: Any, *, where: str, known: frozenset[str]) -> Json:
    """Return the object with camelCase names; raise ApiError 400 on a name that is not ``known``.

    The service takes ``inline_data`` for ``inlineData`` in generateContent bodies, but refuses names that
    exist in neither spelling.
    """
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{where}' (type object expected)", field=where)
    result: Json = {}
    for name, content in value.items():
        camel = re.sub(r"_([a-z0-9])", lambda match: match.group(1).upper(), name)
        if camel not in known:
            place = f" at '{where}'" if where else ""
            message = f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.'
            raise invalid(message, field=where or name)
        result[camel] = content
    return result


def decode_any_base64(text: Any, *, where: str) -> bytes:
    """Decode standard or URL-safe base64, padded or not; raise ApiError 400."""
    if isinstance(text, str):
        standard = text.replace("-", "+").replace("_", "/").rstrip("=")
        try:
            return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        except binascii.Error:
            pass
    raise invalid(f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed", field=where)


def decode_standard_base64(text: Any) -> bytes | None:
    """Decode padded base64 of the standard alphabet; None when it is anything else."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
