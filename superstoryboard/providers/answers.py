"""What a provider answered: decoded without trust in its shape, or kept as evidence where it cannot be understood."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from superstoryboard.providers.wording import without_secrets

KEPT_CHARACTERS = 4096

_LONGEST_TEXT = 400
_MOST_ITEMS = 40
_DEEPEST = 12
_READ_BYTES = 256 * 1024
_MEDIA = re.compile(r"[A-Za-z0-9+/_=\\-]{300,}")
_MEDIA_FIELDS = frozenset({"data", "bytesbase64encoded", "encodedvideo", "thoughtsignature", "thought_signature"})


def decoded(body: bytes | str) -> object:
    """JSON, or None for anything else: also for what is nested too deep or holds a number that is too long."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object, or an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """A JSON list, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """A JSON string, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def kept(answer: object, *, secret: str = "") -> str:
    """An answer as evidence for a person: without media bytes and secrets, at most `KEPT_CHARACTERS` long.

    `answer` is decoded JSON, or the body as it came.
    """
    if isinstance(answer, bytes):
        answer = answer[:_READ_BYTES].decode("utf-8", "replace")
    if isinstance(answer, str):
        value = decoded(answer[:_READ_BYTES])
        shown = _MEDIA.sub(_removed, answer[:_READ_BYTES]) if value is None else _json(value)
    else:
        shown = _json(answer)
    shown = without_secrets(shown, secret=secret)
    shown = "".join(character if character.isprintable() else " " for character in shown)
    return shown if len(shown) <= KEPT_CHARACTERS else shown[: KEPT_CHARACTERS - 1] + "…"


def _json(value: object) -> str:
    return json.dumps(_trimmed(value, 0), ensure_ascii=False)


def _trimmed(value: object, depth: int, field: str = "") -> object:
    """The same shape with long texts, long lists and deep nesting cut."""
    if isinstance(value, str):
        if field.lower() in _MEDIA_FIELDS:
            return f"[{len(value)} characters]"
        shown = _MEDIA.sub(_removed, value)
        return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]}… [{len(value)} characters]"
    if isinstance(value, Mapping | list) and depth >= _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_MOST_ITEMS]
        return {str(name)[:100]: _trimmed(each, depth + 1, str(name)) for name, each in pairs}
    if isinstance(value, list):
        return [_trimmed(each, depth + 1, field) for each in value[:_MOST_ITEMS]]
    return value


def _removed(match: re.Match[str]) -> str:
    return f"[{len(match[0])} characters]"
