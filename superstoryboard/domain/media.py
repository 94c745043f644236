"""What bytes are: a picture or a video. A kind of job is something else; its results are of a media type."""

from __future__ import annotations

from collections.abc import Mapping
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


BUCKETS: Mapping[Media, str] = {Media.IMAGE: "storyboard-images", Media.VIDEO: "storyboard-videos"}
"""Where results of a media type are stored, unless their kind says otherwise."""
