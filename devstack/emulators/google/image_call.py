"""generateContent for pictures: what may be asked, and the bodies that answer it."""

import base64
import secrets
from dataclasses import dataclass
from typing import Any

from .errors import Json, invalid
from .jsonfields import camelized, decode_any_base64, parse_object
from .models import EXTENDED_RATIOS, Model

_TOP = frozenset(
    {
        "contents",
        "systemInstruction",
        "safetySettings",
        "generationConfig",
        "tools",
        "toolConfig",
        "cachedContent",
        "model",
        "store",
        "serviceTier",
        "labels",
    }
)
_CONFIG = frozenset(
    {
        "candidateCount",
        "stopSequences",
        "maxOutputTokens",
        "temperature",
        "topP",
        "topK",
        "seed",
        "presencePenalty",
        "frequencyPenalty",
        "responseMimeType",
        "responseSchema",
        "responseModalities",
        "mediaResolution",
        "thinkingConfig",
        "imageConfig",
        "responseLogprobs",
        "logprobs",
        "speechConfig",
    }
)
_IMAGE_CONFIG = frozenset({"aspectRatio", "imageSize"})
_CONTENT = frozenset({"parts", "role"})
_PART = frozenset({"text", "inlineData", "thought", "thoughtSignature"})
_BLOB = frozenset({"mimeType", "data", "displayName"})
_MIME_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_SCALES = {"1K": 1, "2K": 2, "4K": 4}
_IMAGE_TOKENS = 1120


@dataclass(frozen=True, kw_only=True)
class ImageCall:
    """A checked request. ``size`` is None for an edit, which keeps the size of its source."""

    prompt: str
    sources: tuple[bytes, ...]
    size: tuple[int, int] | None
    with_text: bool
    with_image: bool


def parse_image_call(raw: bytes, model: Model) -> ImageCall:
    """Check a generateContent body as the service does; raise ApiError 400."""
    body = camelized(parse_object(raw), where="", known=_TOP)
    texts, sources = _read_contents(body.get("contents"))
    if not texts and not sources:
        raise invalid("* GenerateContentRequest.contents: contents is not specified\n")
    if len(sources) > model.max_inputs:
        raise invalid(f"Model models/{model.name} takes up to {model.max_inputs} input images.")
    config = camelized(body.get("generationConfig") or {}, where="generation_config", known=_CONFIG)
    modalities = _read_modalities(config.get("responseModalities"))
    where = "generation_config.image_config"
    image_config = camelized(config.get("imageConfig") or {}, where=where, known=_IMAGE_CONFIG)
    ratio = image_config.get("aspectRatio")
    width, height = _base_size(ratio or "1:1", model)
    scale = _scale(image_config.get("imageSize"), model)
    return ImageCall(
        prompt="\n".join(texts),
        sources=tuple(sources),
        size=None if sources and ratio is None else (width * scale, height * scale),
        with_text="TEXT" in modalities,
        with_image="IMAGE" in modalities,
    )


def _read_contents(contents: Any) -> tuple[list[str], list[bytes]]:
    texts: list[str] = []
    sources: list[bytes] = []
    for at, item in enumerate(contents if isinstance(contents, list) else [contents] if contents else []):
        content = camelized(item, where=f"contents[{at}]", known=_CONTENT)
        if content.get("role") not in (None, "", "user", "model"):
            raise invalid("Please use a valid role: user, model.")
        for index, raw_part in enumerate(content.get("parts") or []):
            where = f"contents[{at}].parts[{index}]"
            part = camelized(raw_part, where=where, known=_PART)
            if isinstance(part.get("text"), str):
                texts.append(part["text"])
            if "inlineData" in part:
                sources.append(_read_blob(part["inlineData"], f"{where}.inline_data"))
    return texts, sources


def _read_blob(value: Any, where: str) -> bytes:
    blob = camelized(value, where=where, known=_BLOB)
    mime_type = blob.get("mimeType")
    if mime_type not in _MIME_TYPES:
        raise invalid(f"Unsupported MIME type: {mime_type or ''}")
    return decode_any_base64(blob.get("data"), where=f"{where}.data")


def _read_modalities(value: Any) -> set[str]:
    if not value:
        return {"TEXT", "IMAGE"}
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid("Invalid value at 'generation_config.response_modalities'")
    modalities = {item.upper() for item in value}
    if unknown := modalities - {"TEXT", "IMAGE", "AUDIO"}:
        raise invalid(f"Invalid value at 'generation_config.response_modalities': {min(unknown)!r}")
    if "AUDIO" in modalities:
        raise invalid("The requested combination of response modalities is not supported by the model.")
    return modalities


def _base_size(ratio: Any, model: Model) -> tuple[int, int]:
    if ratio not in model.ratios:
        known = ", ".join(model.ratios)
        raise invalid(f"aspect_ratio must be one of {known}.", field="generation_config.image_config.aspect_ratio")
    return EXTENDED_RATIOS[ratio]


def _scale(size: Any, model: Model) -> int:
    if size is None or not model.sizes:
        return 1
    if size not in model.sizes:
        known = ", ".join(model.sizes)
        raise invalid(f"image_size must be one of {known}.", field="generation_config.image_config.image_size")
    return _SCALES[size]


def image_body(call: ImageCall, model: str, png: bytes | None) -> Json:
    """Return the body of a successful answer; without ``png`` it holds words only."""
    parts: list[Json] = []
    if call.with_text or png is None:
        parts.append({"text": "Here is the picture you asked for."})
    if png is not None:
        data = base64.b64encode(png).decode("ascii")
        parts.append({"inlineData": {"mimeType": "image/png", "data": data}})
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    return _envelope(call, model, candidate, tokens=_IMAGE_TOKENS if png else 9)


def refusal_body(call: ImageCall, model: str, kind: str) -> Json:
    """Return the body, HTTP 200, of one of the refusals that a script can name."""
    match kind:
        case "blocked_prompt":
            body = _envelope(call, model, None, tokens=0)
            body["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT"}
            return body
        case "no_image_text":
            text = "I can't make that picture. Would you like me to describe the scene instead?"
            content = {"role": "model", "parts": [{"text": text}]}
            candidate: Json = {"content": content, "finishReason": "STOP", "index": 0}
            return _envelope(call, model, candidate, tokens=17)
        case "image_safety":
            reason = "IMAGE_SAFETY"
            message = (
                "Unable to show the generated image. The image was filtered out because it violated Google's "
                "Responsible AI practices. Try rephrasing the prompt. Support codes: 63429089"
            )
        case _:
            reason = "NO_IMAGE"
            message = "Unable to generate an image for this prompt. Try rephrasing the prompt."
    return _envelope(
        call, model, {"finishReason": reason, "finishMessage": message, "index": 0, "content": {}}, tokens=0
    )


def _envelope(call: ImageCall, model: str, candidate: Json | None, *, tokens: int) -> Json:
    asked = max(1, len(call.prompt) // 4) + 258 * len(call.sources)
    body: Json = {} if candidate is None else {"candidates": [candidate]}
    usage: Json = {"promptTokenCount": asked, "totalTokenCount": asked + tokens}
    if tokens:
        usage["candidatesTokenCount"] = tokens
    return body | {"usageMetadata": usage, "modelVersion": model, "responseId": secrets.token_urlsafe(16)}
