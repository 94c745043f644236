"""Settings of one emulator process."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Config:
    """What one emulator needs to know.

    ``image_seconds`` is the least time an image answer takes, ``video_seconds`` the least time between the
    submit of a video and the end of its operation. ``processing_seconds`` is how long after that end a film's
    file stays PROCESSING. ``retired`` names models that answer 404 on top of those the model table already
    holds as retired. Without ``vertex_token`` no project of Vertex lets anybody in; express mode takes the
    key. A film larger than ``inline_bytes`` is never put into an interaction, but always given as a uri.
    """

    state_dir: Path
    api_key: str
    image_seconds: float = 0.1
    video_seconds: float = 1.0
    processing_seconds: float = 0.0
    inline_bytes: int = 4 * 1024 * 1024
    vertex_token: str | None = None
    retired: frozenset[str] = frozenset()
    renders_at_once: int = 2
    frames_per_second: int = 24
    listing: bool = True
