"""Verify and measure videos with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from superstoryboard.media.types import HEAD_BYTES, MediaError, MediaType, VideoFacts, sniff

_DEMUXERS = {MediaType.MP4: "mp4", MediaType.WEBM: "matroska"}
_MICROSECONDS_PER_MS = 1000


def probe_video(path: Path) -> VideoFacts:
    """Open an MP4 or WebM, decode its first frame and return its facts.

    Blocks for as long as that takes: call it through `asyncio.to_thread`.

    Raises:
        MediaError: it is no such video, is damaged, or has no picture.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        media_type = sniff(file.read(HEAD_BYTES))
    if media_type is None or media_type.kind != "video":
        raise MediaError("the file is not an MP4 or WebM video")
    import av  # noqa: PLC0415 - the codec libraries cost tens of megabytes; processes without videos go without

    try:
        # Naming the demuxer keeps playlists and other formats that open further addresses out.
        with av.open(str(path), format=_DEMUXERS[media_type]) as container:
            return _facts(container, media_type)
    except av.FFmpegError as error:
        raise MediaError(f"the {media_type} file is damaged: it does not decode") from error


def _facts(container: Any, media_type: MediaType) -> VideoFacts:
    if not container.streams.video:
        raise MediaError("the file has no video stream")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    frame = next(container.decode(stream), None)
    if frame is None:
        raise MediaError("the video has no frame")
    audio = container.streams.audio
    return VideoFacts(
        media_type=media_type,
        width=frame.width,
        height=frame.height,
        duration_ms=_duration_ms(container, stream),
        frame_rate=float(stream.average_rate or 0),
        video_codec=stream.codec_context.name,
        audio_codec=audio[0].codec_context.name if audio else None,
    )


def _duration_ms(container: Any, stream: Any) -> int:
    if container.duration is not None:
        return round(int(container.duration) / _MICROSECONDS_PER_MS)
    if stream.duration is not None:
        return round(Fraction(stream.duration) * Fraction(stream.time_base) * 1000)
    raise MediaError("the video does not tell its length")
