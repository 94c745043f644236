"""Settings of one emulator process."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Config:
    """What one emulator needs to know.

    ``image_seconds`` is the least time an image answer takes, ``video_seconds`` the least time between the
    submit of a video and the end of its operation. ``retired`` names models that answer 404 on top of those
    the model table already holds as retired.
    """

    state_dir: Path
    api_key: str
    image_seconds: float = 0.1
    video_seconds: float = 1.0
    retired: frozenset[str] = frozenset()
    renders_at_once: int = 2
