"""Verify and measure images. For the decoding process alone: it loads codecs and blocks."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, JpegImagePlugin

from superstoryboard.domain.media import Media, MediaType
from superstoryboard.media.limits import MAX_PIXELS, MEMORY_BYTES
from superstoryboard.media.png import check_png
from superstoryboard.media.types import HEAD_BYTES, MediaError, MediaShape, sniff, too_much_memory
from superstoryboard.media.webp import check_webp

# Our own limit is lower, and is asked of every header before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


def probe_image(source: Path | bytes) -> MediaShape:
    """Read a whole PNG, JPEG or WebP to prove that it decodes; its size.

    Raises:
        MediaError: it is no such image, is damaged, or is above a limit of `superstoryboard.media.limits`.
        OSError: the file cannot be read.
    """
    if isinstance(source, bytes):
        return _probe(BytesIO(source))
    with source.open("rb") as file:
        return _probe(file)


def _probe(file: BinaryIO) -> MediaShape:
    media_type = sniff(file.read(HEAD_BYTES))
    if media_type is None or media_type.media is not Media.IMAGE:
        raise MediaError("the file is not a PNG, JPEG or WebP image")
    try:
        width, height = _check(file, media_type)
    except MediaError:
        raise
    except MemoryError as error:
        raise too_much_memory() from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise MediaError(f"the {media_type} file is damaged: it does not decode") from error
    return MediaShape(media_type=media_type, width=width, height=height)


def _check(file: BinaryIO, media_type: MediaType) -> tuple[int, int]:
    file.seek(0)
    if media_type is MediaType.PNG:
        return check_png(file, MAX_PIXELS)
    if media_type is MediaType.WEBP:
        return check_webp(file.read(), MAX_PIXELS)
    return _check_jpeg(file)


def _check_jpeg(file: BinaryIO) -> tuple[int, int]:
    """Every block of coefficients is read, yet only an eighth of each side is drawn."""
    with JpegImagePlugin.JpegImageFile(file) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise MediaError(f"the image has {width} x {height} pixels, more than {MAX_PIXELS}")
        # A progressive picture is held whole as coefficients; the library calls it damaged where that fails.
        if picture.info.get("progressive") and _coefficient_bytes(picture) > MEMORY_BYTES:
            raise too_much_memory()
        picture.draft(None, (1, 1))  # None keeps the mode
        picture.load()
    return width, height


def _coefficient_bytes(picture: JpegImagePlugin.JpegImageFile) -> int:
    layers = [(int(layer[1]), int(layer[2])) for layer in picture.layer]
    samples = sum(across * down for across, down in layers)
    full = max(across for across, _ in layers) * max(down for _, down in layers)
    return 2 * picture.size[0] * picture.size[1] * samples // full
