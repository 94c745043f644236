"""Files that are no plain picture or film are refused with their reason; read here, not in the decoding process."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from superstoryboard.media import MediaError
from superstoryboard.media.images import probe_image
from superstoryboard.media.videos import probe_video
from tests.unit.pictures import chunk, png
from tests.unit.test_media import silence

ROW = b"\0" + b"\x10\x20\x30\xff"
FRAMES = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
LARGE_SIDE = 8192


def webp(**options: Any) -> bytearray:
    buffer = BytesIO()
    FRAMES[0].save(buffer, "WEBP", **options)
    return bytearray(buffer.getvalue())


def animated(form: str) -> bytes:
    buffer = BytesIO()
    FRAMES[0].save(buffer, form, save_all=True, append_images=FRAMES[1:])
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_is_refused(form: str) -> None:
    with pytest.raises(MediaError, match="animated: only still images"):
        probe_image(animated(form))


@pytest.mark.parametrize(("control", "still"), [(struct.pack(">II", 1, 0), True), (b"\0\0\0\1", False)])
def test_an_animated_png_of_one_frame_is_a_still(control: bytes, still: bool) -> None:
    data = png(1, 1, ROW, extra=chunk(b"acTL", control))
    if still:
        assert probe_image(data).width == 1
    else:
        with pytest.raises(MediaError, match="animated"):
            probe_image(data)


def test_a_webp_whose_picture_is_smaller_than_its_header_is_damaged() -> None:
    data = webp(exif=b"Exif\0\0" + bytes(8))
    assert data[12:16] == b"VP8X"
    data[24:27] = (99).to_bytes(3, "little")
    with pytest.raises(MediaError, match="damaged"):
        probe_image(bytes(data))


def test_a_webp_of_an_unknown_form_is_damaged() -> None:
    data = webp()
    data[12:16] = b"VP9 "
    with pytest.raises(MediaError, match="damaged"):
        probe_image(bytes(data))


def test_a_progressive_jpeg_is_refused_by_its_header_where_it_would_not_fit() -> None:
    buffer = BytesIO()
    FRAMES[0].save(buffer, "JPEG", progressive=True, subsampling=0)
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc2") + 5
    data[at : at + 4] = struct.pack(">HH", LARGE_SIDE, LARGE_SIDE)
    with pytest.raises(MediaError, match="more than 160 MiB of memory"):
        probe_image(bytes(data))


def film(path: Path, codec: str, size: tuple[int, int], **container: str) -> Path:
    with av.open(str(path), "w", options=container) as output:
        stream = output.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for frame in (av.VideoFrame.from_image(Image.new("RGB", size)), None):
            output.mux(stream.encode(frame))
    return path


def test_a_film_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="the video has 4112 x 4096 pixels, more than 16777216"):
        probe_video(film(tmp_path / "large.mp4", "mpeg4", (4112, 4096)))


def test_a_film_without_duration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="the video has no duration"):
        probe_video(film(tmp_path / "live.webm", "libvpx", (64, 48), live="1"))


def test_a_film_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.webm"
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libvpx", rate=24)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream("libopus", rate=48000, layout="mono")
        for frame in (silence(), None):
            output.mux(sound.encode(frame))
    with pytest.raises(MediaError, match="the video has no frame"):
        probe_video(path)
