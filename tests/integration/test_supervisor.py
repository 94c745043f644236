"""The supervisor on small real programs: readiness, restart, order of stopping, nothing left behind."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from devstack.stack.program import Program, StartError, base_env
from devstack.stack.supervisor import Supervisor

WAIT_SECONDS = 90.0
SERVE = """
    import signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("up", flush=True)
    signal.sigwait({signal.SIGTERM})
    print("bye", flush=True)
"""
STUBBORN = """
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    while True:
        signal.pause()
"""


class Output:
    """Lines of all programs, to await."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self._queue.put_nowait((name, line))

    async def next_line(self) -> str:
        async with asyncio.timeout(WAIT_SECONDS):
            return (await self._queue.get())[1]

    async def line(self, name: str, text: str) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while (await self._queue.get()) != (name, text):
                pass


def program(name: str, source: str, **options: Any) -> Program:
    return Program(name=name, argv=[sys.executable, "-c", textwrap.dedent(source)], env=base_env(), **options)


def serving(name: str, **options: Any) -> Program:
    return program(name, SERVE, **options)


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
async def supervisor(output: Output) -> AsyncIterator[Supervisor]:
    async with Supervisor(output) as running:
        yield running


async def test_lines_carry_the_name_of_their_program(supervisor: Supervisor, output: Output) -> None:
    await supervisor.start(serving("one"), serving("two"))
    await output.line("one", "up")
    assert {child.name for child in supervisor} == {"one", "two"}


async def test_start_returns_once_the_probe_says_yes(supervisor: Supervisor, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    source = f"import pathlib, signal; pathlib.Path({str(flag)!r}).touch(); signal.pause()"

    async def probe() -> bool:
        return flag.exists()

    await supervisor.start(program("late", source, probe=probe))
    assert flag.exists()


async def test_a_probe_that_cannot_connect_means_not_ready(supervisor: Supervisor) -> None:
    answers = iter([ConnectionRefusedError(), TimeoutError(), None])

    async def probe() -> bool:
        answer = next(answers)
        if answer is not None:
            raise answer
        return True

    await supervisor.start(serving("shy", probe=probe))
    assert next(answers, "asked three times") == "asked three times"


async def test_a_program_that_keeps_dying_is_an_error_with_its_last_words(supervisor: Supervisor) -> None:
    async def never() -> bool:
        return False

    with pytest.raises(StartError, match=r"(?s)broken did not become ready.*no such setting"):
        await supervisor.start(program("broken", "raise SystemExit('no such setting')", probe=never))


async def test_a_program_that_does_not_exist_is_an_error(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await supervisor.start(Program(name="none", argv=[str(tmp_path / "none")], env={}))


async def test_a_killed_program_is_started_again(supervisor: Supervisor, output: Output) -> None:
    await supervisor.start(serving("phoenix"))
    child = supervisor["phoenix"]
    old = child.kill()
    new = await child.wait_restarted(old)
    assert new != old
    assert child.starts == 2
    assert ("phoenix", "exited with code -9; restarting") in output.lines


async def test_a_stopped_program_stays_down_until_it_is_started(supervisor: Supervisor, output: Output) -> None:
    await supervisor.start(serving("sleeper"))
    child = supervisor["sleeper"]
    await output.line("sleeper", "up")
    await child.stop()
    assert child.pid is None
    assert ("sleeper", "bye") in output.lines
    await child.start()
    await output.line("sleeper", "up")
    assert child.starts == 2


async def test_a_program_that_ignores_the_signal_is_killed(supervisor: Supervisor, output: Output) -> None:
    await supervisor.start(program("stubborn", STUBBORN, stop_seconds=0.2))
    await output.line("stubborn", "up")
    child = supervisor["stubborn"]
    process = psutil.Process(child.pid)
    await child.stop()
    assert not process.is_running()


async def test_higher_stages_stop_first(output: Output) -> None:
    async with Supervisor(output) as supervisor:
        await supervisor.start(serving("database", stage=0), serving("service", stage=1))
        assert {await output.next_line(), await output.next_line()} == {"up"}
    goodbyes = [name for name, line in output.lines if line == "bye"]
    assert goodbyes == ["service", "database"]


async def test_what_a_dead_program_started_is_ended_too(supervisor: Supervisor, output: Output) -> None:
    source = """
        import subprocess, sys, signal
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        print(child.pid, flush=True)
        signal.pause()
    """
    await supervisor.start(program("parent", source))
    grandchild = psutil.Process(int(await output.next_line()))
    supervisor["parent"].kill()
    gone, _ = await asyncio.to_thread(psutil.wait_procs, [grandchild], WAIT_SECONDS)
    assert gone == [grandchild]


async def test_memory_is_counted_per_program(supervisor: Supervisor, output: Output) -> None:
    await supervisor.start(serving("small"))
    await output.line("small", "up")
    memory = supervisor.memory_bytes()
    assert memory["small"] > 100_000


def test_nothing_is_left_after_kill_9_of_the_supervisor() -> None:
    source = """
        import asyncio, sys
        from devstack.stack.program import Program, base_env
        from devstack.stack.supervisor import Supervisor

        async def main():
            code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
            program = Program(name="orphan", argv=[sys.executable, "-c", code], env=base_env())
            async with Supervisor(lambda name, line: None) as supervisor:
                await supervisor.start(program)
                print(supervisor["orphan"].pid, flush=True)
                await asyncio.Event().wait()

        asyncio.run(main())
    """
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.wait(WAIT_SECONDS)
    owner.stdout.close()
    gone, _ = psutil.wait_procs([child], WAIT_SECONDS)
    assert gone == [child]
