"""Prove that a PNG decodes, row by row: memory stays at a few blocks however large the picture is."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from superstoryboard.media.types import MediaError

_SIGNATURE_BYTES = 8
_BLOCK_BYTES = 64 * 1024
_MAX_CHUNK_BYTES = 2**31 - 1
_LAST_FILTER = 4
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_PALETTE = 3
# First column and row, and the steps between them, of the seven passes of an interlaced picture.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class DamagedPngError(Exception):
    """The file breaks the PNG format."""


def check_png(file: BinaryIO, max_pixels: int) -> tuple[int, int]:
    """Read a whole PNG: every checksum, and every row of the picture. Returns width and height in pixels.

    Raises:
        DamagedPngError: it is cut, damaged or no PNG.
        MediaError: it has more than `max_pixels`, or several frames.
    """
    file.seek(_SIGNATURE_BYTES)
    chunks = _Chunks(file)
    if chunks.next() != (b"IHDR", 13):
        raise DamagedPngError("no header")
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", b"".join(chunks.data()))
    if not width or not height or depth not in _DEPTHS.get(colour, set()) or methods not in ([0, 0, 0], [0, 0, 1]):
        raise DamagedPngError("bad header")
    if width * height > max_pixels:
        raise MediaError(f"the image has {width} x {height} pixels, more than {max_pixels}")
    bits = depth * _CHANNELS[colour]
    _check_body(chunks, _Rows(list(_segments(width, height, bits, interlaced=methods[-1] == 1))), colour)
    return width, height


def _check_body(chunks: _Chunks, rows: _Rows, colour: int) -> None:
    palette = colour != _PALETTE
    while True:
        name, length = chunks.next()
        if name == b"IDAT":
            if not palette:
                raise DamagedPngError("no palette")
            for block in chunks.data():
                rows.inflate(block)
        elif name == b"acTL":
            _check_single_frame(b"".join(chunks.data()) if length == 8 else b"")
        else:
            palette = palette or name == b"PLTE"
            for _ in chunks.data():
                pass  # read for its checksum
            if name == b"IEND":
                break
    if rows.missing:
        raise DamagedPngError("rows are missing")


def _check_single_frame(data: bytes) -> None:
    if data[:4] != b"\0\0\0\1":
        raise MediaError("the image is animated: only still images are supported")


class _Chunks:
    """The chunks of the file, one after the other; the data of each must be read before the next."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._name = b""
        self._length = 0

    def next(self) -> tuple[bytes, int]:
        """Name and length of the next chunk."""
        self._length, self._name = struct.unpack(">I4s", self._read(8))
        if self._length > _MAX_CHUNK_BYTES:
            raise DamagedPngError("bad length")
        return self._name, self._length

    def data(self) -> Iterator[bytes]:
        """The data of this chunk in blocks; the checksum is compared at its end."""
        checksum = zlib.crc32(self._name)
        left = self._length
        while left:
            block = self._read(min(left, _BLOCK_BYTES))
            left -= len(block)
            checksum = zlib.crc32(block, checksum)
            yield block
        if self._read(4) != checksum.to_bytes(4):
            raise DamagedPngError("bad checksum")

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise DamagedPngError("cut")
        return data


def _segments(width: int, height: int, bits: int, *, interlaced: bool) -> Iterator[tuple[int, int]]:
    """Bytes of a row, filter byte included, and the number of such rows."""
    for column, row, step, row_step in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - column) // step), -(-(height - row) // row_step)
        if columns > 0 and rows > 0:
            yield 1 + (columns * bits + 7) // 8, rows


class _Rows:
    """The rows as they come out of the compressed data. What follows the last one is ignored, as every reader does."""

    def __init__(self, segments: list[tuple[int, int]]) -> None:
        self._inflater = zlib.decompressobj()
        self._segments = [(stride, stride * rows) for stride, rows in segments]
        self._position = 0

    @property
    def missing(self) -> bool:
        return bool(self._segments)

    def inflate(self, data: bytes) -> None:
        """Decompress a block of the file, a bounded piece at a time, and check the rows in it."""
        while self._segments and not self._inflater.eof:
            try:
                piece = self._inflater.decompress(data, _BLOCK_BYTES)
            except zlib.error as error:
                raise DamagedPngError("bad compression") from error
            self._take(piece)
            if len(piece) < _BLOCK_BYTES:
                break  # this block of the file is used up
            data = self._inflater.unconsumed_tail

    def _take(self, piece: bytes) -> None:
        while piece and self._segments:
            stride, size = self._segments[0]
            part = piece[: size - self._position]
            if max(part[-self._position % stride :: stride], default=0) > _LAST_FILTER:
                raise DamagedPngError("bad filter")
            piece = piece[len(part) :]
            self._position += len(part)
            if self._position == size:
                self._position = 0
                del self._segments[0]
