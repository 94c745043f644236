"""What a failure means by the shape of the route that a call went by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobFailure, ProviderFailure
from superstoryboard.domain.routes import RouteShape
from superstoryboard.worker.attempt.errors import DeadLetterError


@contextmanager
def failures_of(shape: RouteShape) -> Iterator[None]:
    """Around an attempt whose call has this shape.

    Raises:
        DeadLetterError: another call would be a second payment, and so a person's decision: the answer was paid and is
            of no use, or it is unknown whether an operation was accepted. A paid operation is fetched again instead.
    """
    try:
        yield
    except JobFailure as failure:
        if _is_for_a_person(shape, failure):
            raise DeadLetterError(failure.error) from failure
        raise


def _is_for_a_person(shape: RouteShape, failure: JobFailure) -> bool:
    if shape is RouteShape.OPERATION:
        return failure.error.error_class is ErrorClass.UNKNOWN_OUTCOME
    return isinstance(failure, ProviderFailure) and failure.outcome is CallOutcome.PAID
