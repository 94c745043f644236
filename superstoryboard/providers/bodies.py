"""Message bodies of the queue as their senders wrote them: any role that may send writes what it likes."""

from __future__ import annotations

from superstoryboard.foreign_json import MAX_BYTES, ForeignJsonError, parse_json
from superstoryboard.providers.validation import InvalidGeneration, Violation

FIELD = "body"


def parse_body(text: str | None) -> object:
    """The JSON value of a message body; None for the text stands for one that is too large to be read at all.

    Raises:
        InvalidGeneration: the body breaks a limit of `superstoryboard.foreign_json`, which is named.
    """
    if text is None:
        raise InvalidGeneration([Violation(FIELD, f"must be at most {MAX_BYTES} bytes")])
    try:
        return parse_json(text)
    except ForeignJsonError as error:
        raise InvalidGeneration([Violation(FIELD, str(error))]) from None
