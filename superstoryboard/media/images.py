"""Verify and measure images with Pillow."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from superstoryboard.media.types import HEAD_BYTES, ImageFacts, MediaError, sniff

MAX_PIXELS = 8192 * 8192
"""A small file can claim huge dimensions; beyond this it is refused before anything is decoded."""

_FORMATS = ("PNG", "JPEG", "WEBP")


def probe_image(source: Path | bytes) -> ImageFacts:
    """Decode a whole PNG, JPEG or WebP and return its facts.

    Blocks for as long as decoding takes: call it through `asyncio.to_thread`.

    Raises:
        MediaError: it is no such image, is damaged, or has more than `MAX_PIXELS`.
        OSError: the file cannot be read.
    """
    if isinstance(source, bytes):
        return _probe(BytesIO(source))
    with source.open("rb") as file:
        return _probe(file)


def _probe(file: BinaryIO) -> ImageFacts:
    media_type = sniff(file.read(HEAD_BYTES))
    if media_type is None or media_type.kind != "image":
        raise MediaError("the file is not a PNG, JPEG or WebP image")
    file.seek(0)
    try:
        width, height = _decode(file)
    except MediaError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"the image has more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise MediaError(f"the {media_type} file is damaged: it does not decode") from error
    return ImageFacts(media_type=media_type, width=width, height=height)


def _decode(file: BinaryIO) -> tuple[int, int]:
    with Image.open(file, formats=_FORMATS) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise MediaError(f"the image has {width} x {height} pixels, more than {MAX_PIXELS}")
        picture.load()
    return width, height
