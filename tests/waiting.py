"""Waiting for a state that tells nobody when it comes: of another process, of a server, of the database."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

WAIT_SECONDS = 90.0
LOOK_SECONDS = 0.02

T = TypeVar("T")


def wait_for(
    look: Callable[[], T], enough: Callable[[T], bool] = bool, *, what: str = "", seconds: float = WAIT_SECONDS
) -> T:
    """Look again and again until it is enough; returns what was seen last.

    Raises:
        AssertionError: it was never enough; says `what` was waited for and what was seen instead.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not enough(value := look()):
        assert time.monotonic() < deadline, f"never came: {what or 'what was waited for'}; last seen: {value!r}"
        pause.wait(LOOK_SECONDS)
    return value


async def awaited(
    look: Callable[[], Awaitable[T]],
    enough: Callable[[T], bool] = bool,
    *,
    beside: asyncio.Future[Any] | None = None,
) -> T:
    """As `wait_for`, for looks that are awaited; `beside` is what goes on meanwhile, and must not end before.

    Raises:
        AssertionError: `beside` has ended.
        TimeoutError: it was never enough.
    """
    async with asyncio.timeout(WAIT_SECONDS):
        while not enough(value := await look()):
            assert beside is None or not beside.done(), f"ended before: {beside!r}"
            await asyncio.sleep(LOOK_SECONDS)
    return value
