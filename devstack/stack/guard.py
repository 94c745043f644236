"""Nothing outlives the program that started it, not even after kill -9: a tiny process holds the other end of a pipe.

The guard learns the pid of every child. When the pipe closes because its owner is gone, however that happened, it
kills the process groups that are left. Each child therefore leads a process group of its own.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from functools import cache

REAP_SECONDS = 10.0


class Guard:
    """The watching process and the pipe to it. Cheap: one for all children of a program, see `shared_guard`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        """Kill this process group when we are gone."""
        self._write(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """The child has ended; its number may belong to someone else soon."""
        self._write(f"-{pid}\n")

    def close(self) -> None:
        """Kill what is left and wait for the guard's own end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=REAP_SECONDS)

    def _write(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            os.write(pipe.fileno(), line.encode())


@cache
def shared_guard() -> Guard:
    """The guard of this program, started when the first child needs it."""
    guard = Guard()
    atexit.register(guard.close)
    return guard


def main() -> None:
    """Read pids until the pipe closes, then kill what is still noted."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended by itself


if __name__ == "__main__":
    main()
