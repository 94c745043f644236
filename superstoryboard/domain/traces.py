"""Traces by W3C Trace Context: who asked for a job may say which trace it belongs to, and logs show that to its end."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

TRACEPARENT = "traceparent"
"""Name of the header, of the column and of the field."""

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)
_NONE = re.compile(r"0+")


def new_traceparent() -> str:
    """One that begins a trace, which nobody has asked to be recorded."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def trace_id(traceparent: str) -> str:
    """The id of the trace that a traceparent belongs to; empty for anything that is none."""
    read = _FORM.fullmatch(traceparent)
    if read is None or _NONE.fullmatch(read["trace"]) or _NONE.fullmatch(read["parent"]):
        return ""
    return read["trace"]


def trace_fields(traceparent: str) -> Mapping[str, str]:
    """What log lines show of a traceparent: `trace_id`, or nothing."""
    identifier = trace_id(traceparent)
    return {"trace_id": identifier} if identifier else {}
