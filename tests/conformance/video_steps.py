"""Orders of videos, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.domain.media import MediaType
from superstoryboard.providers.routes import Call
from superstoryboard.providers.source import SourceImage
from tests.conformance.video_routes import KEY, VideoRoute, encoded

VIDEO = bytes(range(256)) * 1500  # longer than what a poll of Vertex reads, and no multiple of three

IMAGE = SourceImage(MediaType.PNG, b"\xfb\xff\xfe")

MAX_BYTES = 1_000_000


def call(route: VideoRoute, image: SourceImage | None = None) -> Call:
    return Call(
        model=route.model,
        prompt="a fox in the hills",
        aspect_ratio="16:9",
        duration_seconds=8,
        resolution="720p",
        sources=(image,) if image else (),
    )


def facts(failed: ProviderFailure) -> tuple[str, str, CallOutcome]:
    assert KEY not in failed.error.message
    assert "127.0.0.1" not in failed.error.message
    return failed.error.error_class.value, failed.error.code, failed.outcome


async def failure(asked: Any) -> tuple[str, str, CallOutcome]:
    with pytest.raises(ProviderFailure) as caught:
        await asked
    return facts(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def error_body(status: int, word: str, message: str = "no", *details: dict[str, Any]) -> bytes:
    return encoded({"error": {"code": status, "status": word, "message": message, "details": list(details)}})
