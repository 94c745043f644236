"""A process ends with its duties: none of them fails unseen."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from superstoryboard.process.lifecycle import Duties, Stop


async def test_a_duty_that_fails_stops_the_process_and_is_told() -> None:
    stop = Stop()
    duties = Duties(stop)

    async def lasting() -> None:
        await asyncio.Event().wait()

    async def failing() -> None:
        raise ValueError("a bug")

    with capture_logs() as lines:
        duties.start("lasting", lasting())
        duties.start("failing", failing())
        await stop.asked.wait()
    assert duties.failed
    assert [(line["log_level"], line["duty"], str(line["exc_info"])) for line in lines] == [
        ("error", "failing", "a bug")
    ]
    await duties.aclose()


async def test_duties_that_end_or_are_cancelled_stop_nobody() -> None:
    stop = Stop()
    duties = Duties(stop)
    ended = asyncio.Event()

    async def ending() -> None:
        ended.set()

    async def lasting() -> None:
        await asyncio.Event().wait()

    duties.start("ending", ending())
    duties.start("lasting", lasting())
    await ended.wait()
    await duties.aclose()
    assert (duties.failed, stop.asked.is_set()) == (False, False)
