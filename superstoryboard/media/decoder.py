"""The other side of the decoding process: starts it, asks it, and tells a bad file from a bad moment."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.domain.media import MediaType
from superstoryboard.media.limits import CPU_SECONDS, IDLE_SECONDS, MAX_STARTS, WALL_SECONDS
from superstoryboard.media.types import MediaError, MediaShape
from superstoryboard.telemetry.logs import get_logger

RESTART_MIN_SECONDS = 0.5
RESTART_MAX_SECONDS = 15.0
_ROOT = Path(__file__).parents[2]
_ANSWER_BYTES = 4096
_KEPT_VARIABLES = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

log = get_logger("decoder")


class _ChildGoneError(Exception):
    """The decoding process ended without an answer: with this code, negative for a signal; None where it was late."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the decoding process ended with code {code}")
        self.code = code


class _StartError(Exception):
    """The system starts no process now."""


@dataclass
class _Request:
    path: Path
    result: Future[MediaShape] = field(default_factory=Future)


class Decoder:
    """Decodes files in a child process, one at a time, so that memory is bounded however many wait.

    The child is started by the first file, keeps its libraries for the next ones, and ends when idle. It belongs to a
    thread of this process, not to an event loop, and ends with this process, however that ends.
    """

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._wall_seconds = wall_seconds
        self._lock = threading.Lock()
        self._waiting: queue.Queue[_Request] = queue.Queue()
        self._thread: threading.Thread | None = None

    async def probe(self, path: Path) -> MediaShape:
        """Decode a file as what its bytes say it is.

        Waits where the machine cannot run a child now. Cancelled, a decode that waits is dropped; one that runs goes on
        within its limits.

        Raises:
            MediaError: the bytes are no image or video of ours, damaged, or above a limit.
            OSError: the file cannot be read.
        """
        request = _Request(path)
        with self._lock:
            self._waiting.put(request)
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="media-decoder", daemon=True)
                thread.start()
                self._thread = thread
        return await asyncio.wrap_future(request.result)

    def _serve(self) -> None:
        child = _Child(self._wall_seconds)
        while (request := self._next()) is not None:
            if not request.result.set_running_or_notify_cancel():
                continue
            try:
                request.result.set_result(_judge(child, request.path))
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                request.result.set_exception(error)
        child.close()

    def _next(self) -> _Request | None:
        try:
            return self._waiting.get(timeout=self._idle_seconds)
        except queue.Empty:
            with self._lock:
                if self._waiting.empty():
                    self._thread = None
                    return None
        return self._waiting.get()


def _judge(child: _Child, path: Path) -> MediaShape:
    """The answer for a file. A child that the file breaks is the file's fault; one that others break is asked again."""
    starts = tries = 0
    while True:
        try:
            return child.ask(path)
        except _ChildGoneError as gone:
            if gone.code is not None and gone.code < 0 and -gone.code not in _FROM_OUTSIDE:
                log.warning("A file crashed the decoding process", signal=-gone.code)
                raise _broke(-gone.code) from gone
            # A child that ends by itself never began: its set-up is broken, whatever the file.
            starts += gone.code is None or gone.code < 0
            reason = str(gone)
        except _StartError as error:
            reason = str(error)
        if starts == MAX_STARTS:
            raise MediaError(f"the file cannot be decoded: the decoding process was stopped {starts} times")
        log.error("Decoding is retried", reason=reason)
        tries += 1
        time.sleep(backoff_seconds(tries, RESTART_MIN_SECONDS, RESTART_MAX_SECONDS))


def _broke(number: int) -> MediaError:
    if number == signal.SIGXCPU:
        return MediaError(f"the file takes more than {CPU_SECONDS} s of processor time to decode")
    return MediaError("the file is damaged: it crashes the decoder")


class _Child:
    """One decoding process at a time, started when it is asked."""

    def __init__(self, wall_seconds: float) -> None:
        self._wall_seconds = wall_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def ask(self, path: Path) -> MediaShape:
        """What the child says of a file.

        Raises:
            MediaError: it refuses the file.
            OSError: it cannot read the file.
            _ChildGoneError: it ended, or took too long and was ended.
            _StartError: it cannot be started.
        """
        connection = self._socket or self._start()
        try:
            connection.sendall(json.dumps(str(path.absolute())).encode() + b"\n")
            answer = _read_answer(connection)
        except TimeoutError:
            self._end()
            raise _ChildGoneError(None) from None
        except OSError:
            answer = b""  # it is gone: its code says why
        if not answer:
            raise _ChildGoneError(self._end())
        return _shape(answer)

    def close(self) -> None:
        """End the child, if there is one."""
        if self._process is not None:
            self._end()

    def _start(self) -> socket.socket:
        command = [sys.executable, "-P", "-B", "-W", "ignore", "-m", "superstoryboard.media.child"]
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                self._socket = ours
                self._process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=_environment()
                )
        except OSError as error:
            self._end()
            raise _StartError(f"the decoding process cannot be started: {error.strerror}") from error
        ours.settimeout(self._wall_seconds)
        return ours

    def _end(self) -> int:
        """Close the socket, at which the child ends; one that does not is killed. Its code."""
        process, connection = self._process, self._socket
        self._process = self._socket = None
        if connection is not None:
            connection.close()
        if process is None:
            return 0
        try:
            return process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _environment() -> dict[str, str]:
    """Where code and libraries are, and nothing else: this process's own environment holds secrets."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    paths = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "MALLOC_ARENA_MAX": "1"}


def _read_answer(connection: socket.socket) -> bytes:
    """One line; empty where the child ended before its answer."""
    answer = b""
    while not answer.endswith(b"\n"):
        block = connection.recv(_ANSWER_BYTES)
        if not block or len(answer) > _ANSWER_BYTES:
            return b""
        answer += block
    return answer


def _shape(answer: bytes) -> MediaShape:
    """The answer, believed no further than its types: whoever breaks a decoder may write it."""
    try:
        fields = dict(json.loads(answer))
        refusal, number = fields.get("refused"), int(fields.get("errno", 0))
        shape = None if refusal or number else _shape_of(fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MediaError("the file is damaged: it crashes the decoder") from error
    if number:
        raise OSError(number, os.strerror(number))
    if shape is None:
        raise MediaError(str(refusal))
    return shape


def _shape_of(fields: dict[str, Any]) -> MediaShape:
    duration = fields["duration_ms"]
    return MediaShape(
        media_type=MediaType(fields["media_type"]),
        width=int(fields["width"]),
        height=int(fields["height"]),
        duration_ms=None if duration is None else int(duration),
    )
