"""MP4 files whose boxes promise what is not there, told before a decoder sees them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from superstoryboard.media import MediaError
from superstoryboard.media.boxes import check_boxes
from superstoryboard.media.limits import MAX_BOX_DEPTH, MAX_BOXES, MAX_MOOV_BYTES
from superstoryboard.media.videos import probe_video
from tests.unit.test_media import film

Harm = Callable[[bytearray], bytes]
HEAD = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return film(tmp_path_factory.mktemp("film") / "a.mp4").read_bytes()


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = box(b"trak", content)
    return HEAD + box(b"moov", content)


def counted(name: bytes, behind: int, count: int) -> Harm:
    """Changes the number of entries of the first table of this name."""

    def harm(data: bytearray) -> bytes:
        struct.pack_into(">I", data, data.index(name) + 4 + behind, count)
        return bytes(data)

    return harm


def sized(name: bytes, size: int) -> Harm:
    def harm(data: bytearray) -> bytes:
        struct.pack_into(">I", data, data.index(name) - 4, size)
        return bytes(data)

    return harm


def one_size_for_all(data: bytearray) -> bytes:
    struct.pack_into(">II", data, data.index(b"stsz") + 8, 100, 4_000_000_000)
    return bytes(data)


def large_pictures(data: bytearray) -> bytes:
    struct.pack_into(">HH", data, data.index(b"avc1", data.index(b"stsd")) + 28, 65_535, 65_535)
    return bytes(data)


MANY = "more than 1000000 entries"
LONGER = "a table is longer than its box"
BROKEN: dict[str, tuple[Harm, str]] = {
    "frames without end": (one_size_for_all, MANY),
    **{f"{name.decode()} without end": (counted(name, 4, 2**32 - 1), MANY) for name in (b"stts", b"stco", b"stsc")},
    **{f"{name.decode()} too long": (counted(name, 4, 900_000), LONGER) for name in (b"stts", b"stco", b"elst")},
    "stsz too long": (counted(b"stsz", 8, 900_000), LONGER),
    "large pictures": (large_pictures, "65535 x 65535 pixels"),
    "a child longer than its parent": (sized(b"mvhd", 2**31), "longer than what it lies in"),
    "a box shorter than its head": (sized(b"tkhd", 7), "shorter than its head"),
    "a long head that says nothing": (sized(b"tkhd", 1), "damaged"),
    "a description longer than the file": (sized(b"moov", 60_000_000), "longer than what it lies in"),
    "a description without end": (sized(b"moov", 2**31), f"more than {MAX_MOOV_BYTES >> 20} MiB"),
    "too deep": (lambda _: nested(MAX_BOX_DEPTH + 1), "nested too deep"),
    "too many": (lambda _: HEAD + box(b"moov", box(b"free") * MAX_BOXES), f"more than {MAX_BOXES} boxes"),
    "a table without a length": (lambda _: HEAD + box(b"moov", box(b"stts", b"\0")), "a table has no length"),
    "a description of pictures that is cut": (
        lambda _: HEAD + box(b"moov", box(b"stsd", bytes(8) + box(b"avc1", bytes(10)))),
        "of its pictures is cut",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_boxes_that_promise_too_much_are_refused(case: str, good: bytes, tmp_path: Path) -> None:
    harm, words = BROKEN[case]
    path = tmp_path / "film.mp4"
    path.write_bytes(harm(bytearray(good)))
    with pytest.raises(MediaError, match=words):
        probe_video(path)


@pytest.mark.parametrize("tail", [b"", b"\0", bytes(7), bytes(400), box(b"uuid", bytes(4000))])
def test_what_follows_the_film_is_left_alone(good: bytes, tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(good + tail)
    assert probe_video(path).width == 64


def test_boxes_of_any_bytes_are_read_or_refused(good: bytes, tmp_path: Path) -> None:
    chance = random.Random(3)
    path = tmp_path / "film.mp4"
    start = good.index(b"moov") - 4
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(start, len(data))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        path.write_bytes(data[: chance.choice((len(data), chance.randrange(start, len(data))))])
        with suppress(MediaError):
            check_boxes(path)
