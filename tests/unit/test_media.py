import hashlib
import struct
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from superstoryboard.domain.media import MediaType
from superstoryboard.media import HEAD_BYTES, MediaError, sniff
from superstoryboard.media.images import probe_image
from superstoryboard.media.verify import verify
from superstoryboard.media.videos import probe_video

EXIF = Image.Exif()
EXIF[0x010E] = "a description"


def picture(form: str, size: tuple[int, int] = (48, 32)) -> bytes:
    buffer = BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(buffer, form)
    return buffer.getvalue()


def film(path: Path, *, codec: str = "libx264", sound: str | None = "aac", frames: int = 24) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=24)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for index in range(frames):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (index * 8, 0, 0)))
            frame.pts, frame.time_base = index, Fraction(1, 24)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(silence()))
            container.mux(audio.encode(None))
    return path


def silence() -> Any:
    frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    frame.planes[0].update(bytes(4096))
    frame.sample_rate, frame.pts = 48000, 0
    return frame


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "a.mp4")


@pytest.fixture(scope="module")
def webm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "a.webm", codec="libvpx", sound=None)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_images_are_told_by_their_bytes(form: str, tmp_path: Path) -> None:
    data = picture(form)
    path = tmp_path / "wrong.txt"
    path.write_bytes(data)
    facts = probe_image(path)
    assert facts == probe_image(data)
    assert facts.media_type is sniff(data[:HEAD_BYTES]) is MediaType[form]
    assert (facts.width, facts.height) == (48, 32)


def test_extensions() -> None:
    assert [media_type.extension for media_type in MediaType] == ["png", "jpg", "webp", "mp4", "webm"]
    assert [media_type.media for media_type in MediaType] == ["image"] * 3 + ["video"] * 2


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GIF89a",
        b"<!DOCTYPE html>",
        b"#EXTM3U\n",
        b"\x00\x00\x00\x18ftypheic",
        b"\x00\x00\x00\x18ftypavif",
        b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"\x89PNG",
    ],
)
def test_anything_else_is_nothing(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_cut_image_is_damaged(form: str) -> None:
    data = picture(form)
    with pytest.raises(MediaError, match="damaged"):
        probe_image(data[: len(data) * 2 // 3])


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("JPEG", "CMYK", {}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "RGB", {"exif": EXIF, "subsampling": 0}),
        ("MPO", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]}),
        ("WEBP", "RGB", {"exif": EXIF}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGBA", {"exif": EXIF}),
        ("PNG", "RGBA", {"exif": EXIF}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (301, 203)])
def test_everyday_forms_are_read(form: str, mode: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    buffer = BytesIO()
    Image.effect_noise(size, 90).convert("RGB").convert(mode).save(buffer, form, **options)
    shape = probe_image(buffer.getvalue())
    assert (shape.width, shape.height) == size


def test_bytes_that_only_begin_like_an_image_are_damaged() -> None:
    for head in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\x10\x00\x00\x00WEBPVP8 "):
        with pytest.raises(MediaError, match="damaged"):
            probe_image(head + bytes(200))


@pytest.mark.parametrize("side", [8200, 9600, 50_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    with pytest.raises(MediaError, match="pixels"):
        probe_image(b"\x89PNG\r\n\x1a\n" + body)


async def test_a_missing_file_is_no_media_error(tmp_path: Path) -> None:
    for probe in (probe_image, probe_video):
        with pytest.raises(FileNotFoundError):
            probe(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        await verify(tmp_path / "absent")


def test_an_mp4_with_sound(mp4: Path) -> None:
    facts = probe_video(mp4)
    assert facts.media_type is MediaType.MP4
    assert (facts.width, facts.height, facts.frame_rate) == (64, 48, 24.0)
    assert (facts.video_codec, facts.audio_codec) == ("h264", "aac")
    assert facts.duration_ms == pytest.approx(1000, abs=60)


def test_a_silent_webm(webm: Path) -> None:
    facts = probe_video(webm)
    assert facts.media_type is MediaType.WEBM
    assert (facts.video_codec, facts.audio_codec) == ("vp8", None)
    assert facts.duration_ms == pytest.approx(1000, abs=60)


def test_a_cut_or_hollow_video_is_damaged(mp4: Path, tmp_path: Path) -> None:
    data = mp4.read_bytes()
    for name, content in (("cut", data[:200]), ("hollow", data[:32] + bytes(5000))):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(MediaError, match="video"):
            probe_video(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=48000, layout="mono")
        container.mux(audio.encode(silence()))
        container.mux(audio.encode(None))
    with pytest.raises(MediaError, match="no video stream"):
        probe_video(path)


def test_a_playlist_that_names_other_files_is_not_opened(mp4: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{mp4}\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError, match="not an MP4 or WebM"):
        probe_video(path)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_verify_hashes_and_measures(mp4: Path, tmp_path: Path) -> None:
    image = tmp_path / "x"
    image.write_bytes(picture("WEBP"))
    facts = await verify(image)
    assert (facts.media_type.media, facts.media_type, facts.duration_ms) == ("image", MediaType.WEBP, None)
    assert (facts.width, facts.height, facts.size_bytes) == (48, 32, image.stat().st_size)
    assert facts.sha256 == sha256_of(image)
    film_facts = await verify(mp4)
    assert (film_facts.media_type.media, film_facts.sha256) == ("video", sha256_of(mp4))
    assert film_facts.duration_ms


async def test_verify_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"<html>not a picture</html>")
    with pytest.raises(MediaError, match="not a PNG, JPEG, WebP, MP4 or WebM"):
        await verify(path)
