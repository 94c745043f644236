"""Short films: H.264 and AAC in MP4 at 24 frames a second, made from one still picture.

The first frame is the still itself. From there the picture zooms slowly while lights drift over it; the
caption stands still. One frame is in memory at a time.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageDraw

from .painting import caption_panel, digest_of
from .sound import SAMPLE_RATE, SAMPLES_PER_CHUNK, chords

_ZOOM = 0.10
_SPRITES = 5


class AbandonedError(Exception):
    """Nobody waits for this film any more."""


def write_film(
    target: Path,
    still: Image.Image,
    prompt: str,
    *,
    seconds: int,
    fps: int,
    caption_from: int,
    with_sound: bool,
    keep_on: Callable[[], bool],
) -> None:
    """Encode ``seconds * fps`` frames of ``still`` in motion to ``target``.

    ``caption_from`` is the frame at which the caption appears. ``keep_on`` is asked before each frame;
    AbandonedError is raised as soon as it says no.
    """
    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = _add_video(container, still.size, fps)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if with_sound else None
        sound = _audio_frames(digest_of(prompt), seconds)
        for index, picture in enumerate(_frames(still, prompt, seconds, fps, caption_from)):
            if not keep_on():
                raise AbandonedError
            frame = av.VideoFrame.from_image(picture).reformat(format="yuv420p")
            frame.pts = index
            container.mux(video.encode(frame))
            while audio is not None and (chunk := next(sound, None)) is not None:
                container.mux(audio.encode(chunk))
                if chunk.pts * fps >= index * SAMPLE_RATE:
                    break
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))


def _add_video(container: Any, size: tuple[int, int], fps: int) -> Any:
    stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "27"})
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    stream.codec_context.gop_size = fps
    return stream


def _frames(still: Image.Image, prompt: str, seconds: int, fps: int, caption_from: int) -> Iterator[Image.Image]:
    digest, count = digest_of(prompt), seconds * fps
    panel = caption_panel(prompt, still.size)
    sprite = _sprite(min(still.size) // 9)
    corner = (still.width // 32, still.height - panel.height - still.width // 32)
    zoomed = still
    for index in range(count):
        if index % 2 == 0 and index > 0:
            zoomed = _zoom(still, index / count)
        picture = zoomed.copy()
        if index > 0:
            _drift(picture, sprite, digest, index / fps)
        if index >= caption_from:
            picture.paste(panel, corner, panel)
        yield picture


def _zoom(still: Image.Image, progress: float) -> Image.Image:
    cut_x, cut_y = (side * _ZOOM / 2 * progress for side in still.size)
    box = (cut_x, cut_y, still.width - cut_x, still.height - cut_y)
    return still.resize(still.size, Image.Resampling.BILINEAR, box=box)


def _sprite(side: int) -> Image.Image:
    light = Image.new("RGBA", (side, side), (255, 244, 200, 0))
    draw = ImageDraw.Draw(light)
    for ring in range(6):
        inset = side * ring // 14
        draw.ellipse((inset, inset, side - inset, side - inset), fill=(255, 244, 200, 18 + ring * 26))
    return light


def _drift(picture: Image.Image, sprite: Image.Image, digest: bytes, seconds: float) -> None:
    width, height = picture.size
    for number in range(_SPRITES):
        speed = 0.4 + digest[number] / 255
        x = (digest[number + 8] / 255 + seconds * speed * 0.06) % 1.0
        y = digest[number + 16] / 255 * 0.6 + 0.06 * math.sin(seconds * speed * 2 + number)
        picture.paste(sprite, (int(x * width), int(y * height)), sprite)


def _audio_frames(digest: bytes, seconds: int) -> Iterator[Any]:
    for position, samples in enumerate(chords(digest, seconds)):
        frame = av.AudioFrame(format="fltp", layout="mono", samples=SAMPLES_PER_CHUNK)
        frame.planes[0].update(samples)
        frame.sample_rate = SAMPLE_RATE
        frame.pts = position * SAMPLES_PER_CHUNK
        yield frame
