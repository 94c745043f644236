"""Counts paid calls by what became known of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from superstoryboard.jobs.errors import CallOutcome, ProviderFailure
from superstoryboard.telemetry.work_metrics import CallMetrics

ACCEPTED = "ACCEPTED"


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
