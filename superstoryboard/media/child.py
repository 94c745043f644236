"""The decoding process: reads the paths of files from its socket, decodes one after the other, writes what it found.

It holds no secret (its environment is empty but for import paths), writes no file, and ends as soon as the process that
started it is gone. Requests and answers are JSON, one a line.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from superstoryboard.domain.media import Media, MediaType
from superstoryboard.media.limits import CPU_SECONDS, MEMORY_BYTES
from superstoryboard.media.types import HEAD_BYTES, MediaError, MediaShape, sniff

Answer = dict[str, str | int | None]


def main() -> None:
    """Answer requests from standard input, a socket, until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a process that drains still wants its answers
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")  # on Linux: where memory ends, this process goes
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    connection = socket.socket(fileno=0)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, requests), daemon=True).start()
    while True:
        path = json.loads(requests.get())
        connection.sendall(json.dumps(_answer(Path(path))).encode() + b"\n")


def _read(connection: socket.socket, requests: queue.SimpleQueue[str]) -> None:
    """Pass requests on; end the process, also in the middle of a decode, when nobody is there to answer."""
    with suppress(OSError), connection.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            requests.put(line)
    os._exit(0)


def _answer(path: Path) -> Answer:
    try:
        shape = _probe(path)
    except MediaError as error:
        return {"refused": str(error)}
    except OSError as error:
        return {"errno": error.errno or errno.EIO}
    return {
        "media_type": shape.media_type.value,
        "width": shape.width,
        "height": shape.height,
        "duration_ms": shape.duration_ms,
    }


def _probe(path: Path) -> MediaShape:
    with path.open("rb") as file:
        media_type = sniff(file.read(HEAD_BYTES))
    if media_type is None:
        raise MediaError("the file is not a PNG, JPEG, WebP, MP4 or WebM")
    # Libraries are loaded where they are needed, and outside the limits, which are those of the decode alone.
    _lift(resource.RLIMIT_AS)
    if media_type not in {MediaType.PNG, MediaType.JPEG}:
        import av  # noqa: F401, PLC0415
    if media_type.media is Media.IMAGE:
        from superstoryboard.media.images import probe_image  # noqa: PLC0415

        _limit_decode()
        return probe_image(path)
    from superstoryboard.media.videos import probe_video  # noqa: PLC0415

    _limit_decode()
    facts = probe_video(path)
    return MediaShape(
        media_type=facts.media_type, width=facts.width, height=facts.height, duration_ms=facts.duration_ms
    )


def _limit_decode() -> None:
    """Give one decode its memory and processor time, on top of what this process has already."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + 1 + CPU_SECONDS)
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY_BYTES)


def _limit(kind: int, value: int) -> None:
    """Lower or raise a limit, as far as the system allows."""
    with suppress(ValueError, OSError):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _lift(kind: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (hard, hard))


if __name__ == "__main__":
    main()
    sys.exit()
