"""The Interactions API for Gemini Omni: what may be asked, and the bodies that answer it. All names in snake_case."""

import re
from dataclasses import dataclass
from typing import Any

from .errors import ApiError, Json, invalid
from .jsonfields import decode_any_base64
from .models import Model
from .video_call import VideoCall

_TOP = frozenset(
    {
        "background",
        "generation_config",
        "input",
        "labels",
        "model",
        "previous_interaction_id",
        "response_format",
        "response_modalities",
        "service_tier",
        "store",
        "stream",
        "system_instruction",
        "tools",
        "webhook_config",
    }
)
_FORMAT = frozenset({"type", "aspect_ratio", "delivery", "duration", "gcs_uri", "resolution"})
_TASKS = ("text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "upscale")
_FILMED_TASKS = ("text_to_video", "image_to_video")
_MIME_TYPES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
_DURATION = re.compile(r"([0-9]{1,3})s")


@dataclass(frozen=True, kw_only=True)
class InteractionCall:
    """A checked request: the film, and how its maker wants to hear of it."""

    film: VideoCall
    background: bool
    store: bool
    inline: bool


def parse_interaction_call(body: Json, model: Model) -> InteractionCall:
    """Check the body of a new interaction as the service does; raise ApiError."""
    _refuse_unknown(body, _TOP, "")
    if body.get("previous_interaction_id") or body.get("stream"):
        raise ApiError(501, "The emulator neither continues interactions nor streams them.")
    background, store = _flag(body, "background", default=False), _flag(body, "store", default=True)
    if background and not store:
        raise invalid("'background' requires 'store' to be true.")
    prompt, source = _read_input(body.get("input"))
    video_format = _video_format(body.get("response_format"))
    _check_task(body.get("generation_config") or {}, source)
    resolution = _choice(video_format, "resolution", "720p", tuple(model.durations))
    return InteractionCall(
        film=VideoCall(
            prompt=prompt,
            source=source,
            aspect_ratio=_choice(video_format, "aspect_ratio", "16:9", model.ratios),
            duration_seconds=_duration(video_format.get("duration", "8s"), model.durations[resolution]),
            resolution=resolution,
        ),
        background=background,
        store=store,
        inline=_choice(video_format, "delivery", "inline", ("inline", "uri")) == "inline",
    )


def _refuse_unknown(value: Json, known: frozenset[str], where: str) -> None:
    for name in value:
        if name not in known:
            raise ApiError(400, f"Unknown parameter '{where}{name}'.", word="parameter_unknown")


def _flag(body: Json, name: str, *, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(f"'{name}' must be a boolean.")
    return value


def _read_input(value: Any) -> tuple[str, bytes | None]:
    """Return prompt and first frame; ``value`` is words, one content, or a list of contents or of steps."""
    texts, pictures = [], []
    for content in _contents(value):
        match content.get("type"):
            case "text" if isinstance(content.get("text"), str):
                texts.append(content["text"])
            case "image":
                pictures.append(_picture(content))
            case "video" | "document" | "audio":
                raise ApiError(501, f"The emulator does not support {content['type']} as input.")
            case other:
                raise invalid(f"The value {other!r} is not supported for 'type' at 'input'.")
    if len(pictures) > 1:
        raise ApiError(501, "The emulator accepts one image, the first frame.")
    prompt = "\n".join(texts)
    if not prompt.strip() and not pictures:
        raise invalid("'input' must contain text or an image.")
    return prompt, pictures[0] if pictures else None


def _contents(value: Any) -> list[Json]:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    items = value if isinstance(value, list) else [value]
    contents: list[Any] = []
    for item in items:
        is_step = isinstance(item, dict) and item.get("type") == "user_input"
        contents.extend(item.get("content") or [] if is_step else [item])
    if not all(isinstance(content, dict) for content in contents):
        raise invalid("'input' must be a string, a content, or a list of contents or steps.")
    return contents


def _picture(content: Json) -> bytes:
    if content.get("uri"):
        raise ApiError(501, "The emulator does not accept uploaded files: send the image's 'data'.")
    if content.get("mime_type") not in _MIME_TYPES:
        raise invalid(f"The value {content.get('mime_type')!r} is not supported for 'mime_type' of an image.")
    return decode_any_base64(content.get("data"), where="input.data")


def _video_format(value: Any) -> Json:
    formats = value if isinstance(value, list) else [value or {"type": "video"}]
    videos = [item for item in formats if isinstance(item, dict) and item.get("type") == "video"]
    if len(videos) != 1 or len(formats) != 1:
        raise invalid("'response_format' must be one object of type 'video'.")
    _refuse_unknown(videos[0], _FORMAT, "response_format.")
    if videos[0].get("gcs_uri"):
        raise invalid("'response_format.gcs_uri' is only supported on Vertex.")
    video_format: Json = videos[0]
    return video_format


def _check_task(config: Any, source: bytes | None) -> None:
    video = config.get("video_config") if isinstance(config, dict) else config
    if video is not None and not isinstance(video, dict):
        raise invalid("'generation_config.video_config' must be an object.")
    task = (video or {}).get("task")
    if task is None:
        return
    if task not in _TASKS:
        raise invalid(f"The value {task!r} is not supported for 'task'. Supported values: {', '.join(_TASKS)}.")
    if task not in _FILMED_TASKS:
        raise ApiError(501, f"The emulator does not support {task}.")
    if (task == "image_to_video") != (source is not None):
        raise invalid(f"The task {task} does not match the images in 'input'.")


def _choice(video_format: Json, name: str, default: str, known: tuple[str, ...]) -> str:
    value = video_format.get(name, default)
    if not isinstance(value, str) or value not in known:
        values = ", ".join(f"'{item}'" for item in known)
        raise invalid(f"The value {value!r} is not supported for 'response_format.{name}'. Supported values: {values}.")
    return value


def _duration(value: Any, known: tuple[int, ...]) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid(
            f"Invalid duration format at 'response_format.duration': {value!r}. Expected a string such as '8s'."
        )
    seconds = int(match[1])
    if seconds not in known:
        raise invalid(f"'response_format.duration' must be from {known[0]}s to {known[-1]}s, not {value}.")
    return seconds
