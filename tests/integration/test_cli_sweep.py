"""`storyboard sweep`, as the CronJob runs it, against a real ingest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.running import base_env, running, token

ROOT = Path(__file__).resolve().parents[2]
Sweep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sweep(database_url: str, tmp_path: Path) -> Iterator[Sweep]:
    with running("ingest", {"DATABASE_URL": database_url}, tmp_path / "log") as ingest:

        def call(role: str, *arguments: str) -> subprocess.CompletedProcess[str]:
            env = base_env() | {"INGEST_ADDRESS": ingest.address, "STORYBOARD_TOKEN": token("sweeper", role)}
            command = [sys.executable, "-m", "storyboard", "sweep", *arguments]
            return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

        yield call


def test_a_sweep_does_its_duties_and_counts_them(sweep: Sweep, sql: psycopg.Connection) -> None:
    # Where there is no right to make a trigger, a sweep adopts.
    sql.execute("drop trigger superstoryboard_adopt on pgmq.q_image_generation_queue")
    sql.execute('select pgmq.send(\'image_generation_queue\', \'{"storyboardId": "b", "prompt": "p"}\')')
    done = sweep("service_role")
    assert done.returncode == 0
    assert done.stdout.startswith("cancel_removed: 0\nadopt_messages: 1\nrecover_leases: 0\nbury_overdue: 0\n")
    sql.execute("select pgmq.purge_queue('image_generation_queue')")
    duties = json.loads(sweep("service_role", "--json").stdout)["duties"]
    assert {duty["name"]: duty["count"] for duty in duties if "count" in duty} == {"cancel_removed": "1"}


def test_a_sweep_wants_the_service_role(sweep: Sweep) -> None:
    done = sweep("authenticated")
    assert done.returncode == 1
    assert "service_role" in done.stderr
