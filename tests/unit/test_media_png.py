"""PNGs are read without being held: what is proven, and what is refused."""

import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from superstoryboard.media import MediaError
from superstoryboard.media.images import probe_image
from tests.unit.pictures import SIGNATURE, chunk, header, interlaced, png

RED = b"\xff\0\0\xff"
GOOD = png(3, 2, (b"\0" + RED * 3) * 2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (33, 500), (300, 299)])
def test_every_form_is_read(mode: str, size: tuple[int, int]) -> None:
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    shape = probe_image(buffer.getvalue())
    assert (shape.width, shape.height) == size


@given(st.integers(1, 40), st.integers(1, 40))
def test_interlaced_pictures_of_every_size_are_read(width: int, height: int) -> None:
    data = interlaced(width, height, lambda x, y: bytes([x, y, 0, 255]))
    with Image.open(BytesIO(data)) as picture:
        assert picture.getpixel((width - 1, height - 1)) == (width - 1, height - 1, 0, 255)
    assert probe_image(data).width == width
    with pytest.raises(MediaError, match="damaged"):
        probe_image(data.replace(header(width, height, interlaced=True), header(width, height + 1, interlaced=True)))


def test_every_cut_and_every_changed_byte_is_noticed() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(MediaError):
            probe_image(GOOD[:end])
    for index in range(len(GOOD)):
        with pytest.raises(MediaError):
            probe_image(GOOD[:index] + bytes([GOOD[index] ^ 0x41]) + GOOD[index + 1 :])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(3, 2, b"\0" + RED * 3), id="a-row-is-missing"),
        pytest.param(png(3, 2, (b"\5" + RED * 3) * 2), id="unknown-filter"),
        pytest.param(png(3, 2, b"\0" + RED * 3 + b"\5" + RED * 3), id="unknown-filter-in-the-last-row"),
        pytest.param(png(3, 2, b"\0\0\0\0" * 2, colour=3), id="no-palette"),
        pytest.param(png(3, 2, bytes(100), colour=5), id="unknown-colours"),
        pytest.param(png(3, 2, bytes(100), depth=4), id="depth-of-another-form"),
        pytest.param(png(0, 2, bytes(100)), id="no-width"),
        pytest.param(SIGNATURE + chunk(b"IDAT", b"") + header(1, 1), id="header-comes-late"),
        pytest.param(SIGNATURE + header(1, 1) + chunk(b"IEND", b""), id="no-picture"),
        pytest.param(SIGNATURE + header(3, 2) + chunk(b"IDAT", b"hello") + chunk(b"IEND", b""), id="not-compressed"),
        pytest.param(SIGNATURE + header(3, 2) + b"\xff\xff\xff\xffIDAT", id="endless-chunk"),
    ],
)
def test_what_no_reader_can_show_is_damaged(data: bytes) -> None:
    with pytest.raises(MediaError, match="damaged"):
        probe_image(data)


def test_more_rows_than_the_picture_has_are_not_read() -> None:
    bomb = zlib.compress((b"\0" + RED * 3) * 2 + bytes(64_000_000))
    assert len(bomb) < 100_000
    data = SIGNATURE + header(3, 2) + chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    assert probe_image(data).height == 2


def test_compressed_text_is_not_unpacked() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64_000_000)))
    assert probe_image(png(3, 2, (b"\0" + RED * 3) * 2, extra=text)).height == 2


@given(st.binary(max_size=200))
def test_whatever_follows_the_header_is_read_or_refused(tail: bytes) -> None:
    with pytest.raises(MediaError):
        probe_image(SIGNATURE + header(3, 2) + tail)
