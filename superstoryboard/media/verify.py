"""Everything the pipeline asks and records about foreign bytes. The event loop never blocks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.domain.media import Media, MediaFacts, MediaType
from superstoryboard.media.decoder import RESTART_MAX_SECONDS, RESTART_MIN_SECONDS, Decoder
from superstoryboard.media.types import HEAD_BYTES, MediaError, MediaShape, sniff
from superstoryboard.telemetry.logs import get_logger

log = get_logger("decoder")
_decoder = Decoder()
_NAMES = {Media.IMAGE: "a PNG, JPEG or WebP image", Media.VIDEO: "an MP4 or WebM video"}


async def verify(path: Path, media: Media | None = None) -> MediaFacts:
    """Decode the file as what its bytes say it is, measure and hash it, each once.

    Raises:
        MediaError: the bytes are no image or video of ours, not of the `media` that is asked for, damaged, or above a
            limit of `superstoryboard.media.limits`.
        OSError: the file cannot be read.
    """
    shape = await probe(path, media)
    size_bytes, sha256 = await asyncio.to_thread(_digest, path)
    return _facts(shape, size_bytes, sha256)


async def measure(path: Path, size_bytes: int, sha256: str) -> MediaFacts:
    """As `verify`, of a file whose size and hash are known from its transfer."""
    return _facts(await probe(path), size_bytes, sha256)


async def verify_bytes(data: bytes, media: Media | None = None) -> MediaFacts:
    """As `verify`, of bytes in memory; on Linux a full disk is no hindrance."""
    shape = await probe_bytes(data, media)
    digest = await asyncio.to_thread(hashlib.sha256, data)
    return _facts(shape, len(data), digest.hexdigest())


async def probe(path: Path, media: Media | None = None) -> MediaShape:
    """As `verify`, where the hash is known or not wanted."""
    if media is not None:
        media_type = await asyncio.to_thread(_sniff, path)
        if media_type is None or media_type.media is not media:
            raise MediaError(f"the file is not {_NAMES[media]}")
    return await _decoder.probe(path)


async def probe_bytes(data: bytes, media: Media | None = None) -> MediaShape:
    """As `probe`, of bytes in memory, which may be paid for: a system that is out of files is waited for."""
    tries = 0
    while True:
        try:
            with _empty_file() as file:
                await asyncio.to_thread(file.write_bytes, data)
                return await probe(file, media)
        except OSError as error:
            log.warning("Decoding is retried", reason=f"no file can be created: {error.strerror}")
        tries += 1
        await asyncio.sleep(backoff_seconds(tries, RESTART_MIN_SECONDS, RESTART_MAX_SECONDS))


@contextmanager
def _empty_file() -> Iterator[Path]:
    """A file that the decoding process can open: in memory, where the system has such."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("media")
        try:
            yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory(prefix="probe-") as folder:
            yield Path(folder) / "media"


def _facts(shape: MediaShape, size_bytes: int, sha256: str) -> MediaFacts:
    return MediaFacts(
        media_type=shape.media_type,
        width=shape.width,
        height=shape.height,
        duration_ms=shape.duration_ms,
        size_bytes=size_bytes,
        sha256=sha256,
    )


def _sniff(path: Path) -> MediaType | None:
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES))


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
