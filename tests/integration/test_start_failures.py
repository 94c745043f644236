"""A process that cannot start says why and ends, whatever it has opened by then."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.running import base_env

LONGEST_SECONDS = 60.0


@pytest.mark.parametrize("service", ["ingest", "image_worker", "video_worker", "asset_writer"])
def test_an_address_that_is_taken_ends_the_process(service: str, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = base_env() | {
            "DATABASE_URL": database_url,
            "SUPABASE_JWT_SECRET": "a-jwt-secret-of-at-least-32-bytes",
            "SUPABASE_URL": "http://127.0.0.1:1",
            "SUPABASE_SECRET_KEY": "storage-secret",
            "SUPABASE_STAGING_KEY": "staging-secret",
            "GOOGLE_GENERATIVE_AI_API_KEY": "google-secret",
            "GRPC_LISTEN": f"127.0.0.1:{listener.getsockname()[1]}",
        }
        ended = subprocess.run(
            [sys.executable, "-m", f"services.{service}"],
            env=env,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    assert ended.returncode == 1
    assert "The process cannot start" in ended.stdout
    assert env["GRPC_LISTEN"] in ended.stdout
