"""Parts of the devstack that need no server: what it refuses, and what ends badly."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from devstack import up
from devstack.emulators.auth.routes import JWKS_PATH, AuthRoutes
from devstack.stack import ports
from devstack.stack.child import Child
from devstack.stack.outside import Outside
from devstack.stack.ports import Ports
from devstack.stack.program import BlockingProcess, Program, StartError, base_env
from devstack.stack.supervisor import _memory_of

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); signal.pause()"


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[BlockingProcess]:
    """A program that ignores SIGTERM, and is on once its log says so."""
    program = Program(name="deaf", argv=[sys.executable, "-S", "-c", DEAF], env=base_env(), stop_seconds=0.1)
    process = BlockingProcess(program, tmp_path / "log")
    yield process
    process.stop(signal.SIGKILL)


def test_a_program_that_ignores_its_signal_is_killed(deaf: BlockingProcess, tmp_path: Path) -> None:
    def is_on() -> bool:
        return "on" in (tmp_path / "log").read_text()

    deaf.start(is_on, 60)
    pid = deaf.pid
    deaf.start(is_on, 60)
    assert deaf.pid == pid, "it runs already"
    deaf.stop()
    assert deaf.pid is None
    deaf.stop()


def test_a_program_that_is_never_ready_is_ended(deaf: BlockingProcess) -> None:
    with pytest.raises(StartError, match="deaf did not become ready"):
        deaf.start(lambda: False, 0)
    assert deaf.pid is None


async def test_the_last_words_of_a_program_need_no_newline_and_a_dead_one_takes_no_signal() -> None:
    said = asyncio.Event()

    def sink(name: str, line: str) -> None:
        if (name, line) == ("words", "last"):
            said.set()

    words = Program(name="words", argv=["/bin/sh", "-c", "printf last"], env={})
    child = Child(words, sink)
    with pytest.raises(ProcessLookupError):
        child.kill()
    await child.start()
    await child.start()
    await asyncio.wait_for(said.wait(), 60)
    await child.stop()


def test_up_says_which_ports_are_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        assert up.run(replace(Ports.free(), ingest=port), tmp_path) == 1
    assert f"These ports are in use. Is the stack already running? {port} (ingest)" in capsys.readouterr().out


def test_ports_of_what_is_outside_may_be_in_use() -> None:
    outside = Outside(google_key="real")
    assert [up._is_outside(outside, part) for part in ("google", "postgres", "ingest")] == [True, False, False]


def test_without_a_free_port_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: port < 0)
    with pytest.raises(OSError, match="no free port"):
        ports.free_port()


def test_what_has_ended_uses_no_memory() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert _memory_of(process.pid) == 0


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"keys": {}}'])
def test_the_emulated_auth_publishes_only_key_sets(body: bytes) -> None:
    with TestClient(Starlette(routes=AuthRoutes({"keys": []}).routes())) as client:
        assert client.put("/_emulator/jwks", content=body).status_code == 400
        assert client.get(JWKS_PATH).json() == {"keys": []}
