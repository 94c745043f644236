"""Folders of servers that run under an account of their own, as Postgres does where the tests run as root."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
ROOM_BYTES = 2 * 2**30


@contextmanager
def server_folder() -> Iterator[Path]:
    """Gone at the end. Not below pytest's own folder, which another session of this user closes to other accounts."""
    with TemporaryDirectory(prefix="servers-") as name:
        yield Path(name)


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder for a server whose data need not last: in memory where there is room, since it makes many databases."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    with TemporaryDirectory(prefix="servers-", dir=MEMORY if in_memory else None) as name:
        yield Path(name)
