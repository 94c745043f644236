"""Images and videos as bytes: what they are, whether they decode, how large and how long they are.

Every function here blocks; callers on an event loop go through `asyncio.to_thread`.
"""

from superstoryboard.media.images import probe_image
from superstoryboard.media.types import (
    HEAD_BYTES,
    ImageFacts,
    MediaError,
    MediaFacts,
    MediaType,
    VideoFacts,
    sniff,
)
from superstoryboard.media.verify import verify_file
from superstoryboard.media.videos import probe_video

__all__ = [
    "HEAD_BYTES",
    "ImageFacts",
    "MediaError",
    "MediaFacts",
    "MediaType",
    "VideoFacts",
    "probe_image",
    "probe_video",
    "sniff",
    "verify_file",
]
