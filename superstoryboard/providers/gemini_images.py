"""Gemini image models through google-genai."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from superstoryboard.jobs.errors import ProviderFailure
from superstoryboard.providers import errors
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.source import SourceImage

_STANDARD_ALPHABET = str.maketrans("-_", "+/")


@dataclass(frozen=True, kw_only=True)
class ImageCall:
    """What one call asks for; without an aspect ratio a source keeps its own."""

    model: str
    prompt: str
    aspect_ratio: str | None = None
    sources: tuple[SourceImage, ...] = ()


class GeminiImages:
    """The calls of one installation. Nothing is retried in here: the ledger counts every call."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        api_version: str = "v1beta",
        catalogue: Catalogue | None = None,
    ) -> None:
        self._api_key = api_key.strip()
        self._catalogue = catalogue or Catalogue.load()
        options = types.HttpOptions(
            base_url=base_url or None,
            api_version=api_version,
            # One attempt said out loud: without it the client repeats some connection errors when aiohttp is installed.
            retry_options=types.HttpRetryOptions(attempts=1),
            # A kept connection that the other side closes meanwhile would leave the outcome of a call unknown.
            headers={"connection": "close"},
            # A redirect would carry the key to another host.
            async_client_args={"follow_redirects": False},
        )
        self._client = genai.Client(vertexai=False, api_key=self._api_key, http_options=options)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aio.aclose()
        await asyncio.to_thread(self._client.close)

    async def generate(self, call: ImageCall, *, timeout_seconds: float) -> bytes:
        """Make one picture; returns its bytes as they came, not yet verified. This is the paid call.

        Raises:
            ProviderFailure: the class decides the retry, `outcome` says what is known of the payment.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                body = await self._send(call, timeout_seconds)
        except genai_errors.APIError as error:
            raise self._http_failure(error, call.model) from error
        except Exception as error:
            if errors.is_transport_error(error):
                raise errors.submit_interrupted(error) from error
            raise errors.unreadable_answer() from error
        return await asyncio.to_thread(read_image, body, secret=self._api_key)

    async def _send(self, call: ImageCall, timeout_seconds: float) -> str:
        parts = [types.Part.from_bytes(data=each.data, mime_type=each.media_type.value) for each in call.sources]
        parts.append(types.Part.from_text(text=call.prompt))
        response = await self._client.aio.models.generate_content(
            model=call.model,
            contents=[types.Content(role="user", parts=parts)],
            config=types.GenerateContentConfig(
                response_modalities=["TEXT", "IMAGE"],
                image_config=types.ImageConfig(aspect_ratio=call.aspect_ratio) if call.aspect_ratio else None,
                # The raw answer: the client's own reading drops the provider's explanation of a refusal.
                should_return_http_response=True,
                http_options=types.HttpOptions(timeout=math.ceil(timeout_seconds * 1000)),
            ),
        )
        raw = response.sdk_http_response
        return (raw.body if raw is not None else None) or ""

    def _http_failure(self, error: genai_errors.APIError, model: str) -> ProviderFailure:
        retired = self._catalogue.refusal(model)
        headers = getattr(error.response, "headers", None) or {}
        return errors.submit_failure(error.code, error.details, headers, retired=retired, secret=self._api_key)


def read_image(body: str, *, secret: str = "") -> bytes:
    """The first picture of a generateContent answer.

    Raises:
        ProviderFailure: there is none; it says why.
    """
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise errors.unreadable_answer() from error
    if not isinstance(answer, Mapping):
        raise errors.unreadable_answer()
    candidates = _mappings(answer.get("candidates"))
    texts: list[str] = []
    for part in (part for candidate in candidates for part in _parts(candidate)):
        data = _inline_data(part)
        if data is not None:
            return _bytes(data)
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
    raise _why_no_image(answer, candidates, " ".join(texts), secret)


def _why_no_image(
    answer: Mapping[str, Any], candidates: list[Mapping[str, Any]], text: str, secret: str
) -> ProviderFailure:
    feedback = answer.get("promptFeedback")
    if isinstance(feedback, Mapping) and isinstance(feedback.get("blockReason"), str):
        message = _text(feedback.get("blockReasonMessage"))
        return errors.blocked_prompt(feedback["blockReason"], message, secret=secret)
    candidate = candidates[0] if candidates else {}
    reason, message = _text(candidate.get("finishReason")), _text(candidate.get("finishMessage"))
    return errors.no_image(reason, message, text, secret=secret)


def _parts(candidate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts that are meant for us: models that think may show drafts on the way."""
    content = candidate.get("content")
    parts = _mappings(content.get("parts")) if isinstance(content, Mapping) else []
    return (part for part in parts if part.get("thought") is not True)


def _inline_data(part: Mapping[str, Any]) -> str | None:
    blob = part.get("inlineData")
    if not isinstance(blob, Mapping) or not _text(blob.get("mimeType")).startswith("image/"):
        return None
    return _text(blob.get("data"))


def _bytes(data: str) -> bytes:
    """Both base64 alphabets occur."""
    try:
        decoded = base64.b64decode(data.translate(_STANDARD_ALPHABET) + "=" * (-len(data) % 4), validate=True)
    except ValueError as error:
        raise errors.damaged_image() from error
    if not decoded:
        raise errors.damaged_image()
    return decoded


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
