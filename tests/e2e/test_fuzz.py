"""The short form of `make fuzz`: every part, a few inputs of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.run import SHARES, fuzz, fuzzed_pipeline

pytestmark = pytest.mark.timeout(300)
INPUTS = 800
SEED = 7


def test_hostile_inputs_break_nothing_and_show_no_secret(database_url: str, tmp_path: Path, amqp_url: str) -> None:
    with fuzzed_pipeline(database_url, tmp_path, amqp_url) as world:
        tally, _ = fuzz(world, SEED, INPUTS)
    assert tally.broken == []
    assert tally.leaks == []
    assert tally.inputs == INPUTS
    parts = {part.partition(" of ")[0] for part, _, _ in tally.counts}
    assert parts == {"calls", "wire", "answers", "queue bodies"}
    assert len(parts) == len(SHARES)
