"""Folders of servers that run under an account of their own, as Postgres does where the tests run as root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def server_folder() -> Iterator[Path]:
    """Gone at the end. Not below pytest's own folder, which another session of this user closes to other accounts."""
    with TemporaryDirectory(prefix="servers-") as name:
        yield Path(name)
