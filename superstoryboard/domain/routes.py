"""The two shapes of a call to a provider."""

from __future__ import annotations

from enum import StrEnum


class RouteShape(StrEnum):
    """What a call answers with; the ledger keeps it for each call, and what may follow is decided by it."""

    ANSWER = "ANSWER"
    """The bytes themselves. A call that was never answered may be repeated, within the limit of the job."""
    OPERATION = "OPERATION"
    """The name of an operation that is polled. A call that may have been accepted is never repeated by itself."""
