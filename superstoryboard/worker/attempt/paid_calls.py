"""What surrounds a paid call: its count, its entry in the ledger, and that nothing interrupts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import CallMetrics

ACCEPTED = "ACCEPTED"

T = TypeVar("T")

log = get_logger("paid_calls")


@contextmanager
def counted(metrics: CallMetrics, model: str) -> Iterator[None]:
    """Around one paid call; a call that is given up, or fails in a way nobody foresaw, is of unknown outcome."""
    started = time.monotonic()
    outcome = CallOutcome.UNKNOWN.value
    try:
        yield
        outcome = ACCEPTED
    except ProviderFailure as failure:
        outcome = failure.outcome.value
        raise
    finally:
        metrics.ended(model, outcome, time.monotonic() - started)


class Settles(Protocol):
    """Who is told how a call ended that gave nothing."""

    async def settle(self, call_id: int, failure: ProviderFailure) -> None:
        """Record it."""


async def recorded(ledger: Settles, call_id: int, step: Awaitable[T], unforeseen: CallOutcome) -> T:
    """A step of a paid call; where it fails, the ledger is told. `unforeseen` is the outcome of a fault of the worker.

    Raises:
        ProviderFailure: the step failed.
    """
    try:
        return await step
    except ProviderFailure as failure:
        await ledger.settle(call_id, failure)
        raise
    except Exception as error:
        log.exception("A paid call failed unexpectedly", call_id=call_id)
        fault = ProviderFailure(
            JobError(ErrorClass.UNKNOWN_OUTCOME, "INTERNAL", "The worker failed during a call that may be charged"),
            unforeseen,
        )
        await ledger.settle(call_id, fault)
        raise fault from error


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Do what is paid for to its end, whatever becomes of the attempt: a cancel is put off, and void once it ended.

    A lost lease or the end of the drain cancels an attempt; what was sent is answered all the same, and the answer is
    handed over if nobody else opened a call. Only the end of the process cancels the work itself.
    """
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            log.warning("Stop requested during a paid call; the call continues to its end")
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()
    return task.result()
