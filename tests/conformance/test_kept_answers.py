"""What is kept of an answer that nobody understood: short, whatever came (G1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from superstoryboard.providers.answers import KEPT_CHARACTERS, kept

WORDS = "some words, "
LONG = {"parts": [{"text": WORDS * 30}] * 40}


@pytest.mark.parametrize(
    "came",
    [
        LONG,
        json.dumps(LONG),
        json.dumps(LONG).encode(),
        f"<html>{WORDS * 10_000}",
        f"<html>{WORDS * 10_000}".encode(),
        {f"{WORDS}{number}": number for number in range(1000)},
        [WORDS] * 100_000,
    ],
    ids=["decoded", "text", "bytes", "page", "bytes of a page", "many fields", "many items"],
)
def test_it_is_cut(came: Any) -> None:
    shown = kept(came)
    assert WORDS in shown
    assert len(shown) <= KEPT_CHARACTERS


@pytest.mark.parametrize("came", [LONG, f"<html>{WORDS * 10_000}"], ids=["decoded", "page"])
def test_it_shows_that_it_is_cut(came: Any) -> None:
    assert kept(came).endswith("…")
