"""``python -m devstack.emulators.google.render SPEC TARGET PARENT FPS``: render one film and end.

A process of its own per film keeps the codec libraries (and what they hold on to) out of the server, and
uses the second core. It stops by itself when the process PARENT is gone, so a killed server leaves nothing
behind; the film appears under TARGET only when it is whole.
"""

import json
import os
import sys
from pathlib import Path

from PIL import Image, ImageOps

from .film import AbandonedError, write_film
from .painting import open_picture, paint_scene

SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
_RATIO_TOLERANCE = 0.03


def main() -> None:
    """Read the operation in SPEC and write its film to TARGET."""
    os.nice(5)
    spec_path, target = Path(sys.argv[1]), Path(sys.argv[2])
    parent, fps = int(sys.argv[3]), int(sys.argv[4])
    spec = json.loads(spec_path.read_text("utf-8"))
    width, height = SIZES[spec["resolution"]]
    size = (width, height) if spec["aspect_ratio"] == "16:9" else (height, width)
    part = target.with_suffix(".part")
    if spec["source"] is None:
        still, caption_from = paint_scene(spec["prompt"], size), 0
    else:
        still, caption_from = _fit((spec_path.parent / spec["source"]).read_bytes(), size), fps // 2
    try:
        write_film(
            part,
            still,
            spec["prompt"],
            seconds=spec["duration_seconds"],
            fps=fps,
            caption_from=caption_from,
            with_sound=spec.get("audio", True),
            keep_on=lambda: os.getppid() == parent,
        )
    except AbandonedError:
        part.unlink(missing_ok=True)
        sys.exit(1)
    part.replace(target)


def _fit(source: bytes, size: tuple[int, int]) -> Image.Image:
    """Scale to fill the frame; a picture of (nearly) the frame's ratio is not cropped at all."""
    picture = open_picture(source)
    ratio = picture.width / picture.height * size[1] / size[0]
    if abs(ratio - 1) < _RATIO_TOLERANCE:
        return picture.resize(size, Image.Resampling.LANCZOS)
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
