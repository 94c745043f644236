"""JSON that others wrote: no text of theirs can raise anything but ForeignJsonError, or cost more than its length.

Python's own reader raises RecursionError for deep nesting, needs quadratic time for long integers, and takes NaN and
keys that stand twice.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_DIGITS = 400
"""Characters of one number."""
_SHOWN_CHARACTERS = 60


class ForeignJsonError(ValueError):
    """The text is refused. The message is the broken rule, as the end of a sentence that begins with what it is."""


def parse_json(text: str | bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a JSON text of at most `max_bytes`.

    Raises:
        ForeignJsonError: it is too large, nested too deeply, holds a number that is too long, or is no JSON.
    """
    if len(text) > max_bytes:
        raise _too_large(max_bytes)
    try:
        data = text.encode() if isinstance(text, str) else text
        value = _DECODER.decode(data.decode())
    except ForeignJsonError:
        raise
    except RecursionError:
        raise _too_deep() from None
    except UnicodeError:
        raise ForeignJsonError("must be valid UTF-8") from None
    except ValueError:
        raise ForeignJsonError("must be JSON") from None
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    if _is_deeper(value, MAX_DEPTH):
        raise _too_deep()
    return value


def decoded_json(text: str | bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """As `parse_json`, but None for a text that is refused."""
    try:
        return parse_json(text, max_bytes=max_bytes)
    except ForeignJsonError:
        return None


def _too_large(max_bytes: int) -> ForeignJsonError:
    return ForeignJsonError(f"must be at most {max_bytes} bytes")


def _too_deep() -> ForeignJsonError:
    return ForeignJsonError(f"must be nested at most {MAX_DEPTH} levels deep")


def _is_deeper(value: object, levels: int) -> bool:
    """True where objects and arrays stand in each other more than so many levels deep."""
    level = [value]
    for _ in range(levels):
        level = [each for outer in level for each in _members(outer)]
    return any(isinstance(each, dict | list) for each in level)


def _members(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _integer(text: str) -> int:
    _check_length(text)
    return int(text)


def _float(text: str) -> float:
    _check_length(text)
    value = float(text)
    if math.isinf(value):
        raise ForeignJsonError(f"must not contain a number as large as {text}")
    return value


def _check_length(number: str) -> None:
    if len(number) > MAX_DIGITS:
        raise ForeignJsonError(f"must not contain a number of more than {MAX_DIGITS} digits")


def _constant(name: str) -> None:
    raise ForeignJsonError(f"must be JSON, which has no {name}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ForeignJsonError(f"must not repeat the key {_shown(twice)} twice")
    return result


def _shown(text: str) -> str:
    """A foreign text as it may stand in a message: short, quoted, and without anything unprintable."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return ascii(cut)


_DECODER = json.JSONDecoder(
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
    object_pairs_hook=_object,
)
