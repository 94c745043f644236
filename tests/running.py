"""Real processes of the services, one at a time, for tests that do not need the whole stack."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import jwt
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack.ports import free_port

Metadata = tuple[tuple[str, str | bytes], ...]

SECRET = "a-secret-of-the-tests-that-is-long-enough"
START_SECONDS = 30.0
STOP_SECONDS = 15.0


def token(subject: str = "alice", role: str | None = "authenticated", **changes: object) -> str:
    claims = {"sub": subject, "role": role, "aud": "authenticated", "exp": time.time() + 600} | changes
    return jwt.encode({key: value for key, value in claims.items() if value is not None}, SECRET)


def bearer(value: str) -> Metadata:
    return (("authorization", f"Bearer {value}"),)


ALICE = bearer(token())
BOB = bearer(token("bob"))
SERVICE = bearer(token("backend", "service_role"))


def base_env() -> dict[str, str]:
    """What a child needs of this process's environment, and nothing that could change its settings."""
    return {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}


@contextmanager
def running(name: str, settings: dict[str, str], log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A service that is SERVING on a free port: its address and process. Stopped by SIGTERM at the end."""
    address = f"127.0.0.1:{free_port()}"
    env = base_env() | {"GRPC_LISTEN": address, "SUPABASE_JWT_SECRET": SECRET} | settings
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=env, stdout=output, stderr=output)
    try:
        wait_serving(address, process, log)
        yield address, process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not stop:\n{log.read_text()[-3000:]}") from None


def wait_serving(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the health service says SERVING."""
    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        grpc.channel_ready_future(channel).result(START_SECONDS)
        for answer in health.Watch(health_pb2.HealthCheckRequest(), timeout=deadline - time.monotonic()):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
    raise AssertionError(f"{process.args!r} never served:\n{log.read_text()[-3000:]}")
