"""W3C Trace Context: what is a traceparent, and what log lines show of it."""

from __future__ import annotations

import pytest

from superstoryboard.domain.traces import new_traceparent, trace_fields, trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.mark.parametrize("flags", ["00", "01"])
def test_the_trace_of_a_traceparent(flags: str) -> None:
    assert trace_id(f"00-{TRACE}-{PARENT}-{flags}") == TRACE


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_what_is_no_traceparent_has_no_trace(text: str) -> None:
    assert trace_id(text) == ""
    assert trace_fields(text) == {}


def test_a_new_trace_is_one_of_its_own() -> None:
    first, second = trace_id(new_traceparent()), trace_id(new_traceparent())
    assert len(first) == len(second) == 32
    assert first != second
