"""Everything the pipeline asks and records about foreign bytes. The event loop never blocks."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from pathlib import Path

from superstoryboard.media.decoder import Decoder
from superstoryboard.media.types import HEAD_BYTES, Kind, MediaError, MediaFacts, MediaShape, MediaType, sniff

_decoder = Decoder()
_NAMES = {"image": "PNG, JPEG or WebP image", "video": "MP4 or WebM video"}


async def verify(path: Path, kind: Kind | None = None) -> MediaFacts:
    """Decode the file as what its bytes say it is, measure and hash it, each once.

    Raises:
        MediaError: the bytes are no image or video of ours, not of the `kind` that is asked for, damaged, or above a
            limit of `superstoryboard.media.limits`.
        OSError: the file cannot be read.
    """
    shape = await probe(path, kind)
    size_bytes, sha256 = await asyncio.to_thread(_digest, path)
    return MediaFacts(
        kind=shape.media_type.kind,
        media_type=shape.media_type,
        width=shape.width,
        height=shape.height,
        duration_ms=shape.duration_ms,
        size_bytes=size_bytes,
        sha256=sha256,
    )


async def probe(path: Path, kind: Kind | None = None) -> MediaShape:
    """As `verify`, where the hash is known or not wanted."""
    if kind is not None:
        media_type = await asyncio.to_thread(_sniff, path)
        if media_type is None or media_type.kind != kind:
            raise MediaError(f"the file is not a {_NAMES[kind]}")
    return await _decoder.probe(path)


async def probe_bytes(data: bytes, kind: Kind | None = None) -> MediaShape:
    """As `probe`, of bytes in memory."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        file = Path(folder) / "media"
        await asyncio.to_thread(file.write_bytes, data)
        return await probe(file, kind)


def _sniff(path: Path) -> MediaType | None:
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES))


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
