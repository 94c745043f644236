"""The bytes of a base64 field inside a JSON file, copied in pieces: a video is never held in memory as a whole."""

from __future__ import annotations

import base64
import binascii
import re
from typing import BinaryIO

CHUNK_BYTES = 1024 * 1024

_ESCAPES = re.compile(rb"\\(?:u00(2[bBfF]|3[dD])|([/]))")
_ESCAPED = {b"2b": b"+", b"2f": b"/", b"3d": b"="}
_LONGEST_ESCAPE = 6
_STANDARD = bytes.maketrans(b"-_", b"+/")


class NotBase64Error(ValueError):
    """The file has no such field, or what it holds is no base64 up to a closing quote."""


def copy_base64(source: BinaryIO, target: BinaryIO, field: str, *, within: int) -> int:
    """Decode the first field of that name into `target`; it must begin in the first `within` bytes. Returns the size.

    Raises:
        NotBase64Error: as it says.
    """
    head = source.read(within)
    opening = re.search(rb'"%s"\s*:\s*"' % re.escape(field.encode()), head)
    if opening is None:
        raise NotBase64Error(field)
    pending, written, closed = head[opening.end() :], 0, False
    while not closed:
        text, quote, _ = pending.partition(b'"')
        closed = bool(quote)
        held = b"" if closed else _unfinished(text)
        text = _plain(text[: len(text) - len(held)])
        usable = len(text) if closed else len(text) - len(text) % 4
        written += target.write(_decoded(text[:usable]))
        if not closed:
            more = source.read(CHUNK_BYTES)
            if not more:
                raise NotBase64Error(field)
            pending = text[usable:] + held + more
    return written


def _unfinished(text: bytes) -> bytes:
    """An escape that the next piece ends."""
    start = text.rfind(b"\\", max(0, len(text) - _LONGEST_ESCAPE + 1))
    return b"" if start < 0 or _ESCAPES.match(text, start) else text[start:]


def _plain(text: bytes) -> bytes:
    if b"\\" in text:
        text = _ESCAPES.sub(lambda match: _ESCAPED[match[1].lower()] if match[1] else match[2], text)
    return text.translate(_STANDARD)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise NotBase64Error(str(error)) from error
