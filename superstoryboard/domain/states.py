"""The states of a job: their names in the database and in the API."""

from __future__ import annotations

from superstoryboard.v1.job_pb2 import JobState

_PREFIX = "JOB_STATE_"

STATES = tuple(name.removeprefix(_PREFIX) for name, value in JobState.items() if value)
"""As the database writes them, in the order of the protos."""
TERMINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "DEAD_LETTERED", "CANCELLED"})


def state_value(name: str) -> str:
    """The enum value, by name, of a state as the database writes it."""
    return f"{_PREFIX}{name}"


def state_name(value: int) -> str:
    """The state as the database writes it."""
    return JobState.Name(value).removeprefix(_PREFIX)
