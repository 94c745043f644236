"""Real processes of the services, one at a time, for tests that do not need the whole stack."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import jwt
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack.stack.ports import free_port

Metadata = tuple[tuple[str, str | bytes], ...]

SECRET = "a-secret-of-the-tests-that-is-long-enough"
DAY_SECONDS = 86_400
# Limits after which a process counts as hung, also beside others that use every core.
START_SECONDS = 60.0
# A connection of its own: one shared with other channels may still look ready after its server was killed,
# or wait out the back-off of calls that failed meanwhile.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
STOP_SECONDS = 130.0


def token(subject: str = "alice", role: str | None = "authenticated", **changes: object) -> str:
    claims = {"sub": subject, "role": role, "aud": "authenticated", "exp": time.time() + DAY_SECONDS} | changes
    return jwt.encode({key: value for key, value in claims.items() if value is not None}, SECRET)


def bearer(value: str) -> Metadata:
    return (("authorization", f"Bearer {value}"),)


ALICE = bearer(token())
BOB = bearer(token("bob"))
SERVICE = bearer(token("backend", "service_role"))


def base_env() -> dict[str, str]:
    """What a child needs of this process's environment, and nothing that could change its settings."""
    return {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ} | {"ENV_FILE": ""}


class Service:
    """A process of one service on a port of its own; it can be killed and started again."""

    def __init__(self, name: str, settings: dict[str, str], log: Path, wrapper: Sequence[str] = ()) -> None:
        self.name = name
        self._wrapper = wrapper
        self.log = log
        self.address = f"127.0.0.1:{free_port()}"
        self._settings = {"GRPC_LISTEN": self.address, "SUPABASE_JWT_SECRET": SECRET} | settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, **changes: str) -> None:
        """Start without waiting; `changes` are settings of this start alone."""
        command = [sys.executable, "-m", *self._wrapper, f"services.{self.name}", *arguments]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command, env=base_env() | self._settings | changes, stdout=output, stderr=output
            )

    def wait_serving(self) -> None:
        """Wait until the health service says SERVING."""
        self._wait_health(health_pb2.HealthCheckResponse.SERVING)

    def wait_not_serving(self) -> None:
        """Wait until the health service says NOT_SERVING."""
        self._wait_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    def _wait_health(self, status: int) -> None:
        with grpc.insecure_channel(self._settings.get("HEALTH_LISTEN", self.address), OWN_CONNECTION) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            try:
                grpc.channel_ready_future(channel).result(START_SECONDS)
            except grpc.FutureTimeoutError:
                raise AssertionError(f"{self.name} does not listen:\n{self.log.read_text()[-3000:]}") from None
            for answer in health.Watch(health_pb2.HealthCheckRequest(), timeout=START_SECONDS):
                if answer.status == status:
                    return
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        raise AssertionError(f"{self.name} never said {name}:\n{self.log.read_text()[-3000:]}")

    @property
    def pid(self) -> int:
        """The process id, of a process that still runs."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit code of a process that was started and has ended by itself; None where it runs or was stopped."""
        return None if self._process is None else self._process.poll()

    def terminate(self) -> None:
        """SIGTERM, without waiting for the end."""
        assert self._process is not None
        self._process.terminate()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal without waiting for anything."""
        assert self._process is not None
        self._process.send_signal(number)

    def twin(self, name: str) -> Service:
        """A second process with the same settings on another port; its log lies beside this one's."""
        settings = {key: value for key, value in self._settings.items() if not key.endswith("_LISTEN")}
        return Service(self.name, settings, self.log.with_name(f"{self.name}-{name}.log"), self._wrapper)

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel would; nothing where it was stopped."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def wait_end(self) -> int:
        """The exit code of a process that ends by itself."""
        assert self._process is not None
        process, self._process = self._process, None
        return process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """SIGTERM; the process must end in time and in order."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            assert process.wait(STOP_SECONDS) == 0, self.log.read_text()[-3000:]
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.name} did not stop:\n{self.log.read_text()[-3000:]}") from None


@contextmanager
def running(name: str, settings: dict[str, str], log: Path) -> Iterator[Service]:
    """A service that is SERVING; stopped in order at the end."""
    service = Service(name, settings, log)
    service.start()
    try:
        service.wait_serving()
        yield service
    finally:
        service.stop()
