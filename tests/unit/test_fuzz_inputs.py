"""The fuzzer itself: the same seed makes the same inputs, and what it looks for is found."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.frames import KINDS, _status
from tests.fuzz.tally import CORE, Tally
from tests.fuzz.values import encoded, mutated, values

GOOD = {"a": [1, {"b": "c"}], "d": None}


def inputs(seed: int) -> list[object]:
    chance = random.Random(seed)
    odd = values(seed, 60)
    bodies = [encoded(chance, mutated(chance, GOOD, odd)) for _ in range(60)]
    return [*bodies, *(chance.choice(KINDS)(chance).sent for _ in range(60))]


def test_a_seed_makes_the_same_inputs_again() -> None:
    assert inputs(5) == inputs(5)
    assert inputs(5) != inputs(6)


@pytest.mark.parametrize(
    ("headers", "ending"),
    [
        ({"grpc-status": "0"}, "OK"),
        ({"grpc-status": "13", "grpc-status-details-bin": "CA0"}, "INTERNAL"),
        ({"grpc-status": "2", "grpc-message": "Unexpected <class 'KeyError'>: 'x'"}, "UNKNOWN"),
        ({"grpc-status": "13", "grpc-message": "Failed parsing HTTP/2"}, f"INTERNAL{CORE}"),
        ({":status": "404"}, f"HTTP 404{CORE}"),
        ({":status": "200"}, ""),
    ],
)
def test_endings_of_our_code_are_told_from_those_of_the_core(headers: dict[str, str], ending: str) -> None:
    assert _status(headers, Tally({})) == ending


def test_failures_and_secrets_are_noticed() -> None:
    tally = Tally({"a key": "planted-key"})
    for ending in ("OK", "INVALID_ARGUMENT", f"INTERNAL{CORE}", "INTERNAL", "NO ANSWER"):
        tally.ended("calls", "GetJob", ending, b"x")
    tally.shown("a log", "nothing here")
    tally.shown("another log", '{"url": "https://x/?key=planted-key"}')
    assert [line.split(": ")[1] for line in tally.broken] == ["INTERNAL of b'x'", "NO ANSWER of b'x'"]
    assert tally.leaks == ["a key in another log"]
    assert (tally.inputs, len(tally.core(core=True))) == (5, 1)
