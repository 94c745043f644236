"""Message bodies of the queue as their senders wrote them: any role that may send writes what it likes."""

from __future__ import annotations

from superstoryboard.foreign_json import MAX_BYTES, MAX_DEPTH, ForeignJsonError, parse_json
from superstoryboard.providers.validation import InvalidGeneration, Violation

FIELD = "body"
_LIMITS = (
    f"must be at most {MAX_BYTES} bytes, nested at most {MAX_DEPTH} levels deep,"
    " and hold no number of more than 40 digits before or after the point"
)


def parse_body(text: str | None) -> object:
    """The JSON value of a message body; None for the text stands for one that the database gives out to nobody.

    Raises:
        InvalidGeneration: the body breaks a limit of `superstoryboard.foreign_json`, which is named.
    """
    if text is None:
        raise InvalidGeneration([Violation(FIELD, _LIMITS)])
    try:
        return parse_json(text)
    except ForeignJsonError as error:
        raise InvalidGeneration([Violation(FIELD, str(error))]) from None
