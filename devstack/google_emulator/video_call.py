"""predictLongRunning for Veo: what may be asked on the Gemini API, and the bodies of an operation."""

from dataclasses import dataclass
from typing import Any

from devstack.google_emulator.errors import ApiError, Json, invalid
from devstack.google_emulator.jsonfields import decode_standard_base64, parse_object
from devstack.google_emulator.models import Model

HOST = "https://generativelanguage.googleapis.com"
_RESPONSE_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse"
_DURATIONS = (4, 6, 8)
_MAX_REFERENCES = 3
_CELEBRITY = (
    "Sorry, we can't create videos with real people's names or likenesses. Please remove the celebrity "
    "reference and try again. Support codes: 15236754"
)
_RPC_MESSAGES = {
    3: "The request is not valid.",
    4: "Deadline exceeded.",
    7: "Permission denied.",
    8: "The service is currently out of capacity.",
    13: "Video generation failed due to an internal server issue. Please try again in a few minutes.",
    14: "The service is currently unavailable.",
}


@dataclass(frozen=True, kw_only=True)
class VideoCall:
    """A checked request; ``source`` is the encoded first frame."""

    prompt: str
    source: bytes | None
    aspect_ratio: str
    duration_seconds: int
    resolution: str


def parse_video_call(raw: bytes, model: Model) -> VideoCall:
    """Check a predictLongRunning body as the service does; raise ApiError.

    Names that the service does not know, such as snake_case ones, are ignored without a word.
    """
    body = parse_object(raw)
    instance = _only_instance(body.get("instances"))
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise invalid("`parameters` must be an object.")
    duration = _duration(parameters.get("durationSeconds"))
    resolution = _choice(parameters, "resolution", "720p", model.resolutions)
    if resolution != "720p" and duration != 8:
        raise invalid(f"Resolution {resolution} is only supported for a `durationSeconds` of 8.")
    source = _picture(instance, "image")
    prompt = instance.get("prompt", "")
    if not isinstance(prompt, str) or (not prompt.strip() and source is None):
        raise invalid("The `prompt` field must be a string that is not empty.")
    _check_extras(instance, parameters, source, duration)
    return VideoCall(
        prompt=prompt,
        source=source,
        aspect_ratio=_choice(parameters, "aspectRatio", "16:9", model.ratios),
        duration_seconds=duration,
        resolution=resolution,
    )


def _only_instance(instances: Any) -> Json:
    if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
        raise invalid("`instances` must hold exactly one object.")
    instance: Json = instances[0]
    return instance


def _duration(value: Any) -> int:
    if value is None:
        return 8
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid("The value type for `durationSeconds` needs to be a number.")
    if value not in _DURATIONS:
        raise invalid("The number value for `durationSeconds` is out of bound. Please provide a value of 4, 6 or 8.")
    return int(value)


def _choice(parameters: Json, name: str, default: str, known: tuple[str, ...]) -> str:
    value = parameters.get(name, default)
    if not isinstance(value, str) or value not in known:
        raise invalid(f"`{name}` {value!r} is not supported. Supported values: {', '.join(known)}.")
    return value


def _picture(holder: Json, name: str) -> bytes | None:
    value = holder.get(name)
    if value is None:
        return None
    if not isinstance(value, dict) or not value.get("bytesBase64Encoded") or not value.get("mimeType"):
        raise invalid(f"Input instance with `{name}` should contain both `bytesBase64Encoded` and `mimeType`.")
    if value["mimeType"] not in ("image/png", "image/jpeg", "image/webp"):
        raise invalid(f"Unsupported MIME type for `{name}`: {value['mimeType']}")
    data = decode_standard_base64(value["bytesBase64Encoded"])
    if data is None:
        raise invalid(f"`{name}.bytesBase64Encoded` is not valid base64.")
    return data


def _check_extras(instance: Json, parameters: Json, source: bytes | None, duration: int) -> None:
    if parameters.get("sampleCount", 1) != 1:
        raise invalid("`sampleCount` must be 1.")
    for name in ("seed", "generateAudio"):
        if name in parameters:
            raise invalid(f"`{name}` isn't supported by this model.")
    person = parameters.get("personGeneration")
    if person is not None and person not in ("allow_all", "allow_adult", "dont_allow"):
        raise invalid(f"{person} for personGeneration is not a known value.")
    if person == "allow_adult" and source is not None:
        raise invalid("allow_adult for personGeneration is currently not supported.")
    if _picture(instance, "lastFrame") is not None and (source is None or duration != 8):
        raise invalid("`lastFrame` needs an `image` and a `durationSeconds` of 8.")
    if references := instance.get("referenceImages"):
        _check_references(references, instance, duration)
    if "video" in instance:
        raise ApiError(501, "The emulator does not extend videos.")


def _check_references(references: Any, instance: Json, duration: int) -> None:
    if not isinstance(references, list) or len(references) > _MAX_REFERENCES:
        raise invalid(f"`referenceImages` takes up to {_MAX_REFERENCES} images.")
    if duration != 8 or any(name in instance for name in ("image", "lastFrame", "video")):
        raise invalid("`referenceImages` needs a `durationSeconds` of 8 and goes with no other picture.")
    for reference in references:
        if not isinstance(reference, dict) or str(reference.get("referenceType", "")).upper() != "ASSET":
            raise invalid("`referenceType` must be ASSET.")
        if _picture(reference, "image") is None:
            raise invalid("A reference needs an `image`.")


def file_uri(file_id: str) -> str:
    """Return the download uri; always Google's host, because clients take only the id from it."""
    return f"{HOST}/v1beta/files/{file_id}:download?alt=media"


def finished_body(name: str, outcome: str, file_id: str) -> Json:
    """Return the polled body of an operation that has ended with ``outcome``."""
    body: Json = {"name": name, "done": True}
    kind, _, code = outcome.partition(":")
    if kind == "operation_error":
        message = _RPC_MESSAGES.get(int(code), f"Operation failed with code {code}.")
        return body | {"error": {"code": int(code), "message": message}}
    if kind == "empty_operation":
        return body
    result: Json = {"generatedSamples": [{"video": {"uri": file_uri(file_id)}}]}
    if kind == "rai_filtered":
        result = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [_CELEBRITY]}
    return body | {"response": {"@type": _RESPONSE_TYPE, "generateVideoResponse": result}}
