"""predictLongRunning for Veo: what may be asked, on the Gemini API and on Vertex, and what filtered films say."""

from dataclasses import dataclass
from typing import Any

from .errors import ApiError, Json, invalid
from .jsonfields import decode_standard_base64, parse_object
from .models import Model

HOST = "https://generativelanguage.googleapis.com"
_RESPONSE_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse"
_DURATIONS = (4, 6, 8)
_LARGEST_SEED = 2**32 - 1
_CELEBRITY = (
    "Sorry, we can't create videos with real people's names or likenesses. Please remove the celebrity "
    "reference and try again. Support codes: 15236754"
)
_FILTERED = (
    "The video was filtered out because it may violate Google's Responsible AI practices. Try rephrasing the prompt."
)
FILMED = ("video", "file_failed")
_RPC_MESSAGES = {
    3: "The request is not valid.",
    4: "Deadline exceeded.",
    7: "Permission denied.",
    8: "The service is currently out of capacity.",
    13: "Video generation failed due to an internal server issue. Please try again in a few minutes.",
    14: "The service is currently unavailable.",
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """In what the two services that film with Veo differ.

    ``extras`` says whether seed and generateAudio are taken, ``people`` what personGeneration may be for words
    alone, ``people_in_pictures`` what it may be with a first frame.
    """

    max_samples: int
    extras: bool
    people: tuple[str, ...]
    people_in_pictures: tuple[str, ...]


ON_GEMINI = Rules(
    max_samples=1,
    extras=False,
    people=("allow_all", "allow_adult", "dont_allow"),
    people_in_pictures=("allow_all", "dont_allow"),
)
# allow_all is for projects on a list of Google's, which the emulated project is not on.
ON_VERTEX = Rules(
    max_samples=4,
    extras=True,
    people=("allow_adult", "dont_allow"),
    people_in_pictures=("allow_adult", "dont_allow"),
)


@dataclass(frozen=True, kw_only=True)
class VideoCall:
    """A checked request; ``source`` is the encoded first frame, ``storage_uri`` the bucket the films go to."""

    prompt: str
    source: bytes | None
    aspect_ratio: str
    duration_seconds: int
    resolution: str
    audio: bool = True
    samples: int = 1
    storage_uri: str | None = None
    webhook: Json | None = None


def parse_video_call(raw: bytes, model: Model, rules: Rules = ON_GEMINI) -> VideoCall:
    """Check a predictLongRunning body as the service does; raise ApiError.

    Names that the service does not know, such as snake_case ones, are ignored without a word.
    """
    body = parse_object(raw)
    instance = _only_instance(body.get("instances"))
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise invalid("`parameters` must be an object.")
    duration = _duration(parameters.get("durationSeconds"))
    resolution = _choice(parameters, "resolution", "720p", tuple(model.durations))
    if duration not in model.durations[resolution]:
        raise invalid(f"Resolution {resolution} is only supported for a `durationSeconds` of 8.")
    source = _picture(instance, "image")
    prompt = instance.get("prompt", "")
    if not isinstance(prompt, str) or (not prompt.strip() and source is None):
        raise invalid("The `prompt` field must be a string that is not empty.")
    samples = parameters.get("sampleCount", 1)
    if isinstance(samples, bool) or samples not in range(1, rules.max_samples + 1):
        raise invalid(f"`sampleCount` must be a number from 1 to {rules.max_samples}.")
    _check_extras(parameters, rules)
    _check_people(parameters.get("personGeneration"), source, rules)
    _check_media(instance)
    return VideoCall(
        prompt=prompt,
        source=source,
        aspect_ratio=_choice(parameters, "aspectRatio", "16:9", model.ratios),
        duration_seconds=duration,
        resolution=resolution,
        audio=parameters.get("generateAudio", True),
        samples=samples,
        storage_uri=parameters.get("storageUri") if rules.extras else None,
        webhook=None if rules.extras else checked_webhook(body.get("webhookConfig"), "userMetadata"),
    )


def checked_webhook(webhook: Any, metadata: str) -> Json | None:
    """Return where an operation's end is to be told, ``metadata`` being its field for words of the caller's own."""
    if webhook is None:
        return None
    uris = webhook.get("uris") if isinstance(webhook, dict) else None
    if not isinstance(uris, list) or not all(isinstance(uri, str) and uri.startswith("http") for uri in uris):
        raise invalid("The webhook configuration needs `uris`.")
    configuration: Json = webhook
    words = configuration.get(metadata, {})
    if not isinstance(words, dict) or configuration.keys() > {"uris", metadata}:
        raise invalid(f"`{metadata}` of the webhook configuration must be an object.")
    return configuration


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
    if isinstance(value, dict) and "gcsUri" in value:
        raise ApiError(501, "The emulator has no Cloud Storage: send the image's bytes.")
    if not isinstance(value, dict) or not value.get("bytesBase64Encoded") or not value.get("mimeType"):
        raise invalid(f"Input instance with `{name}` should contain both `bytesBase64Encoded` and `mimeType`.")
    if value["mimeType"] not in ("image/png", "image/jpeg", "image/webp"):
        raise invalid(f"Unsupported MIME type for `{name}`: {value['mimeType']}")
    data = decode_standard_base64(value["bytesBase64Encoded"])
    if data is None:
        raise invalid(f"`{name}.bytesBase64Encoded` is not valid base64.")
    return data


def _check_extras(parameters: Json, rules: Rules) -> None:
    if not rules.extras:
        for name in ("seed", "generateAudio"):
            if name in parameters:
                raise invalid(f"`{name}` isn't supported by this model.")
        return
    seed = parameters.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _LARGEST_SEED:
        raise invalid(f"`seed` must be a number from 0 to {_LARGEST_SEED}.")
    if not isinstance(parameters.get("generateAudio", True), bool):
        raise invalid("`generateAudio` must be true or false.")
    bucket = parameters.get("storageUri", "gs://bucket")
    if not isinstance(bucket, str) or not bucket.startswith("gs://"):
        raise invalid("`storageUri` must be a Cloud Storage URI that starts with gs://.")


def _check_people(person: Any, source: bytes | None, rules: Rules) -> None:
    if person is None:
        return
    if person not in ON_GEMINI.people:
        raise invalid(f"{person} for personGeneration is not a known value.")
    if person not in (rules.people if source is None else rules.people_in_pictures):
        raise invalid(f"{person} for personGeneration is currently not supported.")


def _check_media(instance: Json) -> None:
    for name in ("lastFrame", "referenceImages", "video"):
        if name in instance:
            raise ApiError(501, f"The emulator does not support `{name}`: send one image, the first frame.")


def file_uri(file_id: str) -> str:
    """Return the download uri; always Google's host, because clients take only the id from it."""
    return f"{HOST}/v1beta/files/{file_id}:download?alt=media"


def finished_body(name: str, outcome: str, file_id: str) -> Json:
    """Return the polled body of an operation of the Gemini API that has ended with ``outcome``."""
    body: Json = {"name": name, "done": True}
    if error := operation_error(outcome):
        return body | {"error": error}
    if outcome in FILMED:
        result: Json = {"generatedSamples": [{"video": {"uri": file_uri(file_id)}}]}
    elif reason := filter_reason(outcome):
        result = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [reason]}
    else:
        return body
    return body | {"response": {"@type": _RESPONSE_TYPE, "generateVideoResponse": result}}


def operation_error(outcome: str) -> Json | None:
    """Return the google.rpc status of an operation that failed, None for every other end."""
    kind, _, code = outcome.partition(":")
    if kind != "operation_error":
        return None
    message = _RPC_MESSAGES.get(int(code), f"Operation failed with code {code}.")
    return {"code": int(code), "message": message}


def filter_reason(outcome: str) -> str | None:
    """Return why a film was filtered out, with the support code that a script may have named; else None."""
    kind, _, code = outcome.partition(":")
    if kind != "rai_filtered":
        return None
    return f"{_FILTERED} Support codes: {code}" if code else _CELEBRITY
