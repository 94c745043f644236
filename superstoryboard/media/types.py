"""Which media the pipeline knows, told from the first bytes and never from a name or a header."""

from __future__ import annotations

from dataclasses import dataclass

from superstoryboard.domain.media import MediaType
from superstoryboard.media.limits import MEMORY_BYTES

HEAD_BYTES = 64
"""How many first bytes `sniff` wants to see."""

_DOC_TYPE_ID = b"\x42\x82"
_MP4_BRANDS = frozenset(
    {b"avc1", b"dash", b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"iso8", b"iso9", b"M4V ", b"mp41", b"mp42"}
)


class MediaError(ValueError):
    """The bytes are not what they should be; the message is a sentence fit for a caller."""


@dataclass(frozen=True, kw_only=True)
class MediaShape:
    """What a decode tells. Width and height are pixels; `duration_ms` is None for images."""

    media_type: MediaType
    width: int
    height: int
    duration_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """Width and height are pixels; `audio_codec` is None for a silent video."""

    media_type: MediaType
    width: int
    height: int
    duration_ms: int
    frame_rate: float
    video_codec: str
    audio_codec: str | None


def too_much_memory() -> MediaError:
    """The error for media whose decoding would cost more than `MEMORY_BYTES`."""
    return MediaError(f"the file needs more than {MEMORY_BYTES >> 20} MiB of memory to decode")


def sniff(head: bytes) -> MediaType | None:
    """Tell the media type from the first bytes (`HEAD_BYTES` suffice); None for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return MediaType.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return MediaType.JPEG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return MediaType.WEBP
    if head[4:8] == b"ftyp" and head[8:12] in _MP4_BRANDS:
        return MediaType.MP4
    return MediaType.WEBM if _is_webm(head[:HEAD_BYTES]) else None


def _is_webm(head: bytes) -> bool:
    """Matroska shares the first bytes; the document type tells them apart."""
    _, marker, doc_type = head.partition(_DOC_TYPE_ID)
    return head.startswith(b"\x1a\x45\xdf\xa3") and bool(marker) and b"webm" in doc_type[:12]
