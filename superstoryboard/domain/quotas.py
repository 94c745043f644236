"""Quotas: which there are, and whose holds for a job."""

from __future__ import annotations

from enum import StrEnum

QUOTAS = ("OPEN_JOBS", "PER_MINUTE", "PER_DAY")
"""Jobs that are not at their end; jobs made in a minute, and in a day (UTC)."""


QUOTALESS = ("sql", "service_role", "local")
"""Names that the system gives itself; they have no quota."""


class QuotaScope(StrEnum):
    """Which quotas hold for the jobs of a caller who has none of its own."""

    EVERYONE = "EVERYONE"
    ANONYMOUS = "ANONYMOUS"
    """Signed in without an account."""
    NONE = "NONE"
    """A service that acts for itself: it has no quota."""
