"""The short form of `make fuzz`: every part, a few inputs of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from superstoryboard.rpc.permissions import TABLE, is_open
from tests.fuzz.run import SHARES, fuzz, fuzzed_pipeline

pytestmark = pytest.mark.timeout(300)
INPUTS = 1200
SEED = 7
SERVICES = ("ingest", "image_worker", "asset_writer")
"""One worker is enough: both offer the same calls, and the adapters of both read answers in the test's own process."""


def test_hostile_inputs_break_nothing_and_show_no_secret(database_url: str, tmp_path: Path, amqp_url: str) -> None:
    with fuzzed_pipeline(database_url, tmp_path, amqp_url, SERVICES) as world:
        tally, _ = fuzz(world, SEED, INPUTS)
    assert tally.broken == []
    assert tally.leaks == []
    assert tally.inputs == INPUTS
    parts = {part.partition(" of ")[0] for part, _, _ in tally.counts}
    assert parts == {"calls", "wire", "answers", "queue bodies"}
    assert len(parts) == len(SHARES)
    called = {target for part, target, _ in tally.counts if part.startswith("calls of")}
    assert called == {method.rpartition("/")[2] for method in TABLE if not is_open(method)}
    targets = {target for part, target, _ in tally.counts if part == "answers"}
    assert {"image", "Storage upload", "Storage download", "source image", "public keys"} < targets
    assert any(key[0] == "queue bodies" and key[2] == "SUCCEEDED" for key in tally.counts), "bodies reach the end"
    assert any(ending == "INVALID_ARGUMENT" for _, _, ending in tally.counts)
