"""The trace that the call which is being handled belongs to."""

from __future__ import annotations

from contextvars import ContextVar

from superstoryboard.domain.traces import TRACEPARENT, new_traceparent, trace_fields, trace_id
from superstoryboard.telemetry.logs import bind_contextvars

_current: ContextVar[str] = ContextVar("traceparent", default="")


def traceparent() -> str:
    """The traceparent of the running call; empty outside of one."""
    return _current.get()


def join_trace(metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    """Take the caller's traceparent, or begin a trace where there is none that can be read; log lines show its id."""
    given = next((value for key, value in metadata if key == TRACEPARENT and isinstance(value, str)), "")
    _current.set(given if trace_id(given) else new_traceparent())
    bind_contextvars(**trace_fields(_current.get()))
