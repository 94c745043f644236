"""Files made to cost what a decoder has: each is refused in words, and the process that decodes lives on."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from superstoryboard.media import MediaError
from superstoryboard.media.decoder import Decoder
from superstoryboard.media.limits import CPU_SECONDS
from tests.integration.test_media_decoder import PICTURE, decoding_processes, until
from tests.unit.pictures import SIGNATURE, chunk, header, png, write_rgba
from tests.unit.test_media import film

MEBIBYTE = 1024 * 1024
LARGEST_SIDE = 8192
KEYFRAME_START = b"\x9d\x01\x2a"


def promised(side: int) -> bytes:
    """A PNG whose header promises what the rest does not have."""
    return SIGNATURE + header(side, side) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def inflating() -> bytes:
    """A PNG of one pixel whose rows unpack to 50 MiB."""
    return png(1, 1, bytes(50 * MEBIBYTE))


def text_bomb() -> bytes:
    """A PNG of one pixel with compressed text of 50 MiB, and a colour profile of as much."""
    packed = png(1, 1, bytes(50 * MEBIBYTE))
    at = packed.index(b"IDAT")
    data = packed[at + 4 : at + 4 + struct.unpack(">I", packed[at - 4 : at])[0]]
    extra = chunk(b"zTXt", b"Comment\0\0" + data) + chunk(b"iCCP", b"icc\0\0" + data)
    return png(1, 1, b"\0" + b"\xff" * 4, extra=extra)


def still(form: str, *, side: int = 16, **options: Any) -> bytearray:
    buffer = BytesIO()
    Image.new("RGB", (side, side)).save(buffer, form, **options)
    return bytearray(buffer.getvalue())


def progressive() -> bytes:
    data = still("JPEG", progressive=True, subsampling=0)
    at = data.index(b"\xff\xc2") + 5
    data[at : at + 4] = struct.pack(">HH", LARGEST_SIDE, LARGEST_SIDE)
    return bytes(data)


def frames() -> bytes:
    buffer = BytesIO()
    pictures = [Image.new("RGB", (64, 64), (number % 256, 0, 0)) for number in range(400)]
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def large_frames(folder: Path) -> bytes:
    """A WebM of 64 x 48 pixels, by its container; by its frames of 16,383 x 16,383."""
    data = film(folder / "small.webm", codec="libvpx", sound=None, frames=2).read_bytes()
    assert KEYFRAME_START in data
    head, *rest = data.split(KEYFRAME_START)
    size = struct.pack("<HH", 16_383, 16_383)
    return KEYFRAME_START.join([head, *(size + part[4:] for part in rest)])


def many_samples(folder: Path) -> bytes:
    data = bytearray(film(folder / "small.mp4").read_bytes())
    struct.pack_into(">II", data, data.index(b"stsz") + 8, 100, 4_000_000_000)
    return bytes(data)


def deep_boxes() -> bytes:
    content = b""
    for _ in range(2000):
        content = struct.pack(">I4s", 8 + len(content), b"trak") + content
    start = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom")
    return start + struct.pack(">I4s", 8 + len(content), b"moov") + content


BOMBS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a picture that promises 3.6 gigapixels": (lambda _: promised(60_000), "more than 67108864"),
    "one that promises as much as may be": (lambda _: promised(LARGEST_SIDE), "damaged"),
    "a progressive picture that must be held whole": (lambda _: progressive(), "more than 160 MiB of memory"),
    "hundreds of frames": (lambda _: frames(), "only still images"),
    "frames larger than their film": (large_frames, "damaged"),
    "a table of 4 billion samples": (many_samples, "more than 1000000 entries"),
    "boxes in boxes": (lambda _: deep_boxes(), "nested too deep"),
}
HARMLESS = {"rows that unpack without end": inflating, "text that unpacks without end": text_bomb}
"""Pictures of one pixel: what is not part of them is not unpacked."""


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    """A decoder that has decoded one picture, and ends soon after its last file."""
    before = {each.pid for each in decoding_processes()}
    decoder = Decoder(idle_seconds=1.0)
    yield decoder
    await until(lambda: {each.pid for each in decoding_processes()} <= before)


async def ready(decoder: Decoder, folder: Path) -> psutil.Process:
    """Its process, after a good picture."""
    before = {each.pid for each in decoding_processes()}
    good = folder / "good.png"
    good.write_bytes(PICTURE)
    assert (await decoder.probe(good)).width == 3
    (process,) = [each for each in decoding_processes() if each.pid not in before]
    return process


async def test_bombs_are_refused_in_words_by_a_process_that_lives_on(decoder: Decoder, tmp_path: Path) -> None:
    film(tmp_path / "warm.mp4", frames=2)
    made = {name: tmp_path / name for name in (*BOMBS, *HARMLESS)}
    for name, path in made.items():
        path.write_bytes(BOMBS[name][0](tmp_path) if name in BOMBS else HARMLESS[name]())
    process = await ready(decoder, tmp_path)
    await decoder.probe(tmp_path / "warm.mp4")  # the libraries for films are loaded
    before = process.memory_info().rss
    for name, (_, words) in BOMBS.items():
        with pytest.raises(MediaError, match=words):
            await decoder.probe(made[name])
        assert (await decoder.probe(tmp_path / "good.png")).width == 3, name
    for name in HARMLESS:
        assert (await decoder.probe(made[name])).width == 1, name
    assert process.is_running(), "no bomb cost more than its own decode"
    assert process.memory_info().rss <= before * 1.1 + MEBIBYTE


async def test_a_picture_that_takes_too_much_memory_is_refused_by_the_limit(decoder: Decoder, tmp_path: Path) -> None:
    large = tmp_path / "large.webp"
    large.write_bytes(still("WEBP", side=1500, lossless=True))
    process = await ready(decoder, tmp_path)
    assert (await decoder.probe(large)).width == 1500
    room = process.memory_info().vms + 2 * MEBIBYTE
    process.rlimit(psutil.RLIMIT_AS, (room, room))
    with pytest.raises(MediaError, match="more than 160 MiB of memory"):
        await decoder.probe(large)
    assert (await decoder.probe(tmp_path / "good.png")).width == 3
    assert process.is_running()


async def test_a_picture_that_takes_too_long_is_stopped_by_the_limit(decoder: Decoder, tmp_path: Path) -> None:
    large = write_rgba(tmp_path / "large.png", LARGEST_SIDE)
    process = await ready(decoder, tmp_path)
    while sum(process.cpu_times()[:2]) < 1.0:
        assert (await decoder.probe(large)).width == LARGEST_SIDE
    _, hard = process.rlimit(psutil.RLIMIT_CPU)
    task = asyncio.create_task(decoder.probe(large))
    used = sum(process.cpu_times()[:2])
    await until(lambda: sum(process.cpu_times()[:2]) > used)
    process.rlimit(psutil.RLIMIT_CPU, (1, hard))
    with pytest.raises(MediaError, match=f"more than {CPU_SECONDS} s of processor time"):
        await task
    assert not process.is_running()
    assert (await decoder.probe(tmp_path / "good.png")).width == 3, "by another process"
