"""How long to wait before something is tried again: one rule for all of it.

After a lost worker no process of ours is there to wait: there the database does (`recover_leases`, docs/STATES.md).
"""

from __future__ import annotations

import random

KEPT_SHARE = 0.5
"""Of a wait that nobody else shares a queue for, at least so much is kept; the rest is jitter."""


def backoff_seconds(
    tries: int, first_seconds: float, longest_seconds: float, *, kept_share: float = KEPT_SHARE
) -> float:
    """Seconds to wait after so many tries (from 1): doubled with each one up to the longest, then shortened by chance.

    `kept_share` is the share that chance leaves: 0 is full jitter, for those who would come back all at once.
    """
    longest = min(first_seconds * 2.0 ** min(max(0, tries - 1), 30), longest_seconds)
    return longest * random.uniform(kept_share, 1.0)  # noqa: S311 - jitter
