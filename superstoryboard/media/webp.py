"""Prove that a still WebP decodes; Pillow's own decoder would hold it four times over."""

from __future__ import annotations

import errno

from superstoryboard.media.types import MediaError, too_much_memory

_ANIMATED = 0x02


class DamagedWebpError(Exception):
    """The file breaks the WebP format."""


def check_webp(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Decode a whole WebP. Returns width and height in pixels.

    Raises:
        DamagedWebpError: it is cut or damaged.
        MediaError: it has more than `max_pixels`, is animated, or needs too much memory.
    """
    if len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise DamagedWebpError("cut")
    width, height = _size(data)
    if width * height > max_pixels:
        raise MediaError(f"the image has {width} x {height} pixels, more than {max_pixels}")
    if _decoded_size(data, max_pixels) != (width, height):
        raise DamagedWebpError("the image size differs from its header")
    return width, height


def _size(data: bytes) -> tuple[int, int]:
    """What the header says, of each of the three forms of the format."""
    form = data[12:16]
    if form == b"VP8X":
        if data[20] & _ANIMATED:
            raise MediaError("the image is animated: only still images are supported")
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if form == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    raise DamagedWebpError("no picture")


def _decoded_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    import av  # noqa: PLC0415 - the codec libraries cost memory that most images do without

    av.logging.set_level(None)
    context = av.CodecContext.create("webp", "r")
    context.thread_count = 1
    context.options = {"max_pixels": str(max_pixels)}
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise too_much_memory() from error
        raise
    (frame,) = frames
    return frame.width, frame.height
