"""Places in lists of jobs, as tokens that callers hand back unread."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from superstoryboard.rpc.errors import invalid

DEFAULT_PAGE = 100


def page_token(row: dict[str, Any]) -> str:
    """The place after a row."""
    text = json.dumps([row["created_at"].isoformat(), str(row["id"])])
    return base64.urlsafe_b64encode(text.encode()).decode()


def read_page_token(token: str) -> tuple[datetime, UUID] | None:
    """The place that a token names; None for the empty token, which is the beginning.

    Raises:
        ApiError: INVALID_ARGUMENT, it is no token of ours.
    """
    if not token:
        return None
    try:
        created, job_id = json.loads(base64.urlsafe_b64decode(token))
        return datetime.fromisoformat(created), UUID(job_id)
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise invalid([("page_token", "must be the next_page_token of an earlier page")]) from None
