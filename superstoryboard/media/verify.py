"""Everything the pipeline records about a file before it hands it on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from superstoryboard.media.images import probe_image
from superstoryboard.media.types import HEAD_BYTES, MediaError, MediaFacts, sniff
from superstoryboard.media.videos import probe_video


def verify_file(path: Path) -> MediaFacts:
    """Decode the file as what its bytes say it is, measure and hash it.

    Blocks for as long as that takes: call it through `asyncio.to_thread`.

    Raises:
        MediaError: the bytes are no image or video of ours, or damaged.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        media_type = sniff(file.read(HEAD_BYTES))
        if media_type is None:
            raise MediaError("the file is not a PNG, JPEG, WebP, MP4 or WebM")
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
    width, height, duration_ms = _measure(path, video=media_type.kind == "video")
    return MediaFacts(
        kind=media_type.kind,
        media_type=media_type,
        width=width,
        height=height,
        duration_ms=duration_ms,
        size_bytes=size_bytes,
        sha256=sha256,
    )


def _measure(path: Path, *, video: bool) -> tuple[int, int, int | None]:
    if video:
        facts = probe_video(path)
        return facts.width, facts.height, facts.duration_ms
    image = probe_image(path)
    return image.width, image.height, None
