"""PNG files made by hand, of any size and with any fault, a few rows at a time."""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(width: int, height: int, *, depth: int = 8, colour: int = 6, interlaced: bool = False) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced)))


def png(width: int, height: int, rows: bytes, *, extra: bytes = b"", depth: int = 8, colour: int = 6) -> bytes:
    """A picture of these rows, filter bytes included."""
    start = SIGNATURE + header(width, height, depth=depth, colour=colour)
    return start + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_rgba(path: Path, side: int, *, pattern: bytes = b"\x10\x20\x30\xff") -> Path:
    """A square RGBA picture, written row by row."""
    row = b"\0" + pattern * side
    with path.open("wb") as file:
        file.write(SIGNATURE + header(side, side))
        for block in _compressed(row for _ in range(side)):
            file.write(chunk(b"IDAT", block))
        file.write(chunk(b"IEND", b""))
    return path


def _compressed(rows: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1)
    for row in rows:
        block = packer.compress(row)
        if block:
            yield block
    yield packer.flush()


def interlaced(width: int, height: int, pixel: Callable[[int, int], bytes]) -> bytes:
    """An interlaced RGBA picture (Adam7), which Pillow reads and does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for left, top, step, row_step in passes:
        for y in range(top, height, row_step):
            if left < width:
                rows += b"\0" + b"".join(pixel(x, y) for x in range(left, width, step))
    body = header(width, height, interlaced=True) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return SIGNATURE + body
