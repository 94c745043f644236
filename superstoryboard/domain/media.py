"""What bytes are: a picture or a video. A kind of job is something else; its results are of a media type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Media(StrEnum):
    """The first half of a MIME type of ours."""

    IMAGE = "image"
    VIDEO = "video"

    @classmethod
    def of(cls, mime_type: str) -> Media:
        """The media of a MIME type.

        Raises:
            ValueError: it is none of ours.
        """
        return cls(mime_type.partition("/")[0])


class MediaType(StrEnum):
    """A media type that the buckets take; the value is the MIME type."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    MP4 = "video/mp4"
    WEBM = "video/webm"

    @property
    def extension(self) -> str:
        """File name extension without the dot."""
        return "jpg" if self is MediaType.JPEG else self.value.partition("/")[2]

    @property
    def media(self) -> Media:
        """Picture or video."""
        return Media.of(self.value)


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """What the bytes of an asset were found to be, as its record keeps it.

    Width and height are pixels; `duration_ms` is None for images, `sha256` lower-case hex.
    """

    media_type: MediaType
    width: int
    height: int
    size_bytes: int
    sha256: str
    duration_ms: int | None = None


BUCKETS: Mapping[Media, str] = {Media.IMAGE: "storyboard-images", Media.VIDEO: "storyboard-videos"}
"""Where results of a media type are stored, unless their kind says otherwise."""
