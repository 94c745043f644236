"""Processes load no library of another security context, and stay small."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.running import base_env


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("services.ingest.wiring", {"google.genai", "supabase", "storage3", "aio_pika", "PIL", "av"}),
        ("services.video_worker.wiring", {"google.genai"}),
        ("services.asset_writer.wiring", {"google.genai"}),
    ],
)
def test_a_process_does_not_load_what_it_must_not_hold(module: str, forbidden: set[str]) -> None:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=base_env(), capture_output=True, text=True, timeout=60, check=True
    )
    assert forbidden.isdisjoint(done.stdout.splitlines())
