"""Pixels are counted in the header: what has too many is refused before anything of it is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from superstoryboard.media.images import probe_image
from superstoryboard.media.types import MediaError

SIDE = 16_000


def small(form: str) -> bytearray:
    buffer = BytesIO()
    Image.new("RGB", (16, 16), "teal").save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    return bytearray(buffer.getvalue())


def png() -> bytes:
    data = small("PNG")
    data[16:24] = struct.pack(">II", SIDE, SIDE)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    return bytes(data)


def jpeg() -> bytes:
    data = small("JPEG")
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", SIDE, SIDE)
    return bytes(data)


def webp() -> bytes:
    data = small("WEBP")
    bits = int.from_bytes(data[21:25], "little") & ~0xFFFFFFF
    data[21:25] = (bits | (SIDE - 1) | (SIDE - 1) << 14).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("make", [png, jpeg, webp])
def test_a_header_with_too_many_pixels_is_enough(make: Callable[[], bytes]) -> None:
    """The rest of the file would be called damaged: it holds 16 x 16 pixels."""
    with pytest.raises(MediaError, match=f"the image has {SIDE} x {SIDE} pixels, more than 67108864"):
        probe_image(make())
