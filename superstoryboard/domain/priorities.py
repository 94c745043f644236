"""In which order the jobs of one owner are claimed."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """Among the jobs of one owner; lower goes first. Between owners it changes nothing."""

    INTERACTIVE = -1
    """Made by a call of its own: somebody may be waiting for it."""
    NORMAL = 0
    """Made of a message that was sent by SQL."""
    BATCH = 1
    """Made by a batch."""
