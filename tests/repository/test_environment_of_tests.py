"""Whoever runs the tests may have an account open in the same shell: none of it reaches a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.running import base_env

ROOT = Path(__file__).resolve().parents[2]
NAMED = {
    "DATABASE_URL": "postgresql://customer/",
    "DATABASE_URL_FILE": "/run/secrets/url",
    "EVENTS_AMQP_URL": "amqp://customer/",
    "SUPABASE_URL": "https://customer.supabase.co",
    "SUPABASE_ACCESS_TOKEN": "secret",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/customer/key.json",
    "GOOGLE_GENERATIVE_AI_API_KEY": "secret",
    "STORYBOARD_TOKEN": "secret",
    "INGEST_ADDRESS": "customer:50051",
    "KV_TABLE": "customer",
    "PGHOSTADDR": "192.0.2.1",
    "PGOPTIONS": "-c search_path=customer",
    "PGPASSWORD": "secret",
    "PGSERVICE": "customer",
}


def test_nothing_that_the_environment_names_reaches_a_test_but_the_broker() -> None:
    code = "import json, os, tests; print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=base_env() | NAMED | {"AMQP_URL": "amqp://broker/", "ENV_FILE": "/home/customer/.env"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    left = json.loads(done.stdout)
    assert not NAMED.keys() & left.keys()
    assert (left["AMQP_URL"], left["ENV_FILE"]) == ("amqp://broker/", "")
