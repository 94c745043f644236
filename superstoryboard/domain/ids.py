"""Ids of jobs: UUIDv7 (RFC 9562), so that they sort by time."""

from __future__ import annotations

import secrets
import time
import uuid


def new_job_id() -> uuid.UUID:
    """A UUIDv7 with the fraction of the millisecond in `rand_a` (RFC 9562 section 6.2, method 3)."""
    nanoseconds = time.time_ns()
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    fraction = rest * 4096 // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return uuid.UUID(int=value)
