"""The boxes of an MP4, read before a decoder sees it: what they promise must fit the file, and our limits.

A decoder believes them: some bytes that promise four thousand million samples make it reserve memory for each.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from superstoryboard.media.limits import MAX_BOX_DEPTH, MAX_BOXES, MAX_MOOV_BYTES, MAX_SAMPLES, MAX_VIDEO_PIXELS
from superstoryboard.media.types import MediaError

_HEAD_BYTES, _LONG_HEAD_BYTES = 8, 16
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf"})
_COUNTED = {b"stts": 8, b"ctts": 8, b"stsc": 12, b"stss": 4, b"stco": 4, b"co64": 8, b"elst": 12}
"""Tables of `count` entries of so many bytes at least, behind four bytes of version and flags."""
_PICTURES = frozenset({b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp08", b"vp09", b"mp4v"})
_PICTURE_BYTES = 36
"""From the head of such an entry of `stsd` to the end of its width and height."""


@dataclass(frozen=True)
class _Box:
    name: bytes
    start: int
    """Of what follows its head."""
    end: int


@dataclass
class _Reader:
    file: BinaryIO
    size: int
    boxes: int = field(default=0)

    def children(self, start: int, end: int) -> Iterator[_Box]:
        at = start
        while at + _HEAD_BYTES <= end:
            self.boxes += 1
            if self.boxes > MAX_BOXES:
                raise MediaError(f"the video has more than {MAX_BOXES} boxes")
            head = self.read(at, _LONG_HEAD_BYTES)
            length, name = struct.unpack_from(">I4s", head)
            skip = _HEAD_BYTES
            if length == 1 and len(head) == _LONG_HEAD_BYTES:
                length, skip = struct.unpack_from(">Q", head, _HEAD_BYTES)[0], _LONG_HEAD_BYTES
            elif length == 0:
                length = end - at
            if length < skip:
                raise _damaged("a box is shorter than its head")
            yield _Box(name, at + skip, at + length)
            at += length

    def read(self, at: int, count: int) -> bytes:
        self.file.seek(at)
        return self.file.read(count)


def check_boxes(path: Path) -> None:
    """Walk the boxes of an MP4 without decoding anything.

    Raises:
        MediaError: they are above a limit of `superstoryboard.media.limits`, or promise what is not there.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        reader = _Reader(file, os.fstat(file.fileno()).st_size)
        for box in reader.children(0, reader.size):
            # Media data that ends early is for the decoder to notice.
            if box.name in _CONTAINERS:
                if box.end - box.start > MAX_MOOV_BYTES:
                    raise MediaError(f"the video describes itself in more than {MAX_MOOV_BYTES >> 20} MiB")
                _check(reader, box, reader.size, 1)


def _check(reader: _Reader, box: _Box, end: int, depth: int) -> None:
    if box.end > end:
        raise _damaged("a box is longer than what it lies in")
    if depth > MAX_BOX_DEPTH:
        raise _damaged("its boxes are nested too deep")
    if box.name in _CONTAINERS:
        for child in reader.children(box.start, box.end):
            _check(reader, child, box.end, depth + 1)
    elif box.name in _COUNTED:
        _check_count(reader, box, 4, _COUNTED[box.name])
    elif box.name == b"stsz":
        one_size = struct.unpack(">I", reader.read(box.start + 4, 4).rjust(4, b"\0"))[0]
        _check_count(reader, box, 8, 0 if one_size else 4)
    elif box.name == b"stsd":
        _check_pictures(reader, box)


def _check_count(reader: _Reader, box: _Box, offset: int, entry_bytes: int) -> None:
    raw = reader.read(box.start + offset, 4) if box.start + offset + 4 <= box.end else b""
    if len(raw) < 4:
        raise _damaged("a table has no length")
    count = struct.unpack(">I", raw)[0]
    if count > MAX_SAMPLES:
        raise MediaError(f"the video has a table of more than {MAX_SAMPLES} entries")
    if box.start + offset + 4 + count * entry_bytes > box.end:
        raise _damaged("a table is longer than its box")


def _check_pictures(reader: _Reader, box: _Box) -> None:
    for entry in reader.children(box.start + 8, box.end):
        if entry.name in _PICTURES:
            fields = reader.read(entry.start, _PICTURE_BYTES - _HEAD_BYTES)
            if len(fields) < _PICTURE_BYTES - _HEAD_BYTES:
                raise _damaged("a description of its pictures is cut")
            width, height = struct.unpack_from(">HH", fields, 24)
            if width * height > MAX_VIDEO_PIXELS:
                raise MediaError(f"the video has {width} x {height} pixels, more than {MAX_VIDEO_PIXELS}")


def _damaged(why: str) -> MediaError:
    return MediaError(f"the video/mp4 file is damaged: {why}")
