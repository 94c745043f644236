"""Keeps a cancel that asyncio loses.

Up to Python 3.11 `asyncio.wait_for`, on which psycopg and its pool wait, answers with the result where a cancel and the
result come in the same moment.
"""

from __future__ import annotations

import asyncio


def cancel_requests() -> int:
    """How often the present task was asked to stop."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def keep_cancel(counted: int) -> None:
    """Stop after all, where the present task was asked to since `counted` was read.

    Raises:
        asyncio.CancelledError: it was.
    """
    if cancel_requests() > counted:
        raise asyncio.CancelledError
