"""Verify and measure videos with PyAV. For the decoding process alone: it loads codecs and blocks."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from superstoryboard.domain.media import Media, MediaType
from superstoryboard.media.boxes import check_boxes
from superstoryboard.media.limits import MAX_VIDEO_PIXELS
from superstoryboard.media.types import HEAD_BYTES, MediaError, VideoFacts, sniff, too_much_memory

_DEMUXERS = {MediaType.MP4: "mp4", MediaType.WEBM: "matroska"}
_MICROSECONDS_PER_MS = 1000


def probe_video(path: Path) -> VideoFacts:
    """Open an MP4 or WebM, decode its first frame and return its facts.

    Raises:
        MediaError: it is no such video, is damaged, has no picture, or is above a limit of
            `superstoryboard.media.limits`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        media_type = sniff(file.read(HEAD_BYTES))
    if media_type is None or media_type.media is not Media.VIDEO:
        raise MediaError("the file is not an MP4 or WebM video")
    if media_type is MediaType.MP4:
        check_boxes(path)
    import av  # noqa: PLC0415 - the codec libraries cost memory that images do without

    av.logging.set_level(None)
    try:
        # Naming the demuxer keeps playlists and other formats that open further addresses out.
        with av.open(str(path), format=_DEMUXERS[media_type]) as container:
            return _facts(container, media_type)
    except MemoryError as error:
        raise too_much_memory() from error
    except av.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise too_much_memory() from error
        raise MediaError(f"the {media_type} file is damaged: it does not decode") from error


def _facts(container: Any, media_type: MediaType) -> VideoFacts:
    if not container.streams.video:
        raise MediaError("the file has no video stream")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_VIDEO_PIXELS:
        raise MediaError(f"the video has {width} x {height} pixels, more than {MAX_VIDEO_PIXELS}")
    stream.codec_context.thread_count = 1
    # Frames may claim another size than the header.
    stream.codec_context.options = {"max_pixels": str(MAX_VIDEO_PIXELS)}
    frame = next(container.decode(stream), None)
    if frame is None:
        raise MediaError("the video has no frame")
    audio = container.streams.audio
    return VideoFacts(
        media_type=media_type,
        width=frame.width,
        height=frame.height,
        duration_ms=_duration_ms(container),
        frame_rate=float(stream.average_rate or 0),
        video_codec=stream.codec_context.name,
        audio_codec=audio[0].codec_context.name if audio else None,
    )


def _duration_ms(container: Any) -> int:
    if container.duration is None:
        raise MediaError("the video has no duration")
    return round(int(container.duration) / _MICROSECONDS_PER_MS)
