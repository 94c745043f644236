"""Places in lists of jobs, as tokens that callers hand back unread, and pages that a client can take."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.message import Message

from superstoryboard.rpc.errors import invalid

DEFAULT_PAGE = 100
PAGE_BYTES = 3 * 1024 * 1024
"""A page ends early at this size: clients take messages of 4 MiB unless told otherwise."""
READ_ROWS = 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_MICROSECONDS = 253_402_300_800_000_000

Cursor = tuple[datetime, UUID]
Row = dict[str, Any]
Item = TypeVar("Item", bound=Message)
_FORM = struct.Struct(">q16s")


def page_token(place: Cursor) -> str:
    """The token of a place: creation time and id of the row before it."""
    created_at, job_id = place
    microseconds = (created_at - EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_FORM.pack(microseconds, job_id.bytes)).decode()


def read_page_token(token: str) -> Cursor | None:
    """The place that a token names; None for the empty token, which is the beginning.

    Raises:
        ApiError: INVALID_ARGUMENT, it is no token of ours.
    """
    if not token:
        return None
    try:
        microseconds, job_id = _FORM.unpack(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, struct.error):
        microseconds, job_id = -1, b""
    if not 0 <= microseconds < LATEST_MICROSECONDS:
        raise invalid([("page_token", "must be the next_page_token of an earlier page")])
    return EPOCH + timedelta(microseconds=microseconds), UUID(bytes=job_id)


async def read_page(
    read: Callable[[int, Cursor | None], Awaitable[list[Row]]],
    shown: Callable[[Row], Item],
    *,
    size: int,
    token: str,
) -> tuple[list[Item], str]:
    """Up to `size` items after the place of a token, and the token of the next page, empty where there is none.

    `read` gives up to so many rows after a place. They are read a few at a time, so that large jobs fill no memory.
    """
    place = read_page_token(token)
    items: list[Item] = []
    page_bytes = 0
    while True:
        quantity = min(size - len(items), READ_ROWS)
        rows = await read(quantity + 1, place)
        used = 0
        while used < min(quantity, len(rows)) and page_bytes < PAGE_BYTES:
            row = rows[used]
            items.append(shown(row))
            page_bytes += items[-1].ByteSize()
            place = row["created_at"], row["id"]
            used += 1
        if used == len(rows):
            return items, ""
        if place is not None and (len(items) >= size or page_bytes >= PAGE_BYTES):
            return items, page_token(place)
