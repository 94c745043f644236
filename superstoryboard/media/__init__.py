"""Images and videos as bytes: what they are, whether they decode, how large and how long they are.

`superstoryboard.media.verify` is the way in: foreign bytes are decoded in a process of their own, with little memory
and time. The modules that decode are for that process alone; this package loads none of them.
"""

from superstoryboard.media.types import (
    HEAD_BYTES,
    MediaError,
    MediaShape,
    VideoFacts,
    sniff,
)

__all__ = [
    "HEAD_BYTES",
    "MediaError",
    "MediaShape",
    "VideoFacts",
    "sniff",
]
