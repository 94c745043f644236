"""Gemini image models through google-genai."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx2
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from superstoryboard.domain.errors import ProviderFailure
from superstoryboard.providers.answers import decoded, items, mapping, text
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google import results, submit_errors
from superstoryboard.providers.routes import Call

ROUTE = "gemini_image"

ANSWER_BYTES = 64 * 1024 * 1024
"""A picture of 4096 by 4096 pixels takes about 35 MB as base64."""

_STANDARD_ALPHABET = str.maketrans("-_", "+/")
_KNOWN_PARTS = frozenset({"text", "thought", "thoughtSignature"})


class AnswerTooLargeError(Exception):
    """An answer is larger than any picture, or compressed although that was not asked for."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error beyond the limit, before it fills the memory."""

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > self._limit:
                raise AnswerTooLargeError
            yield chunk

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
        raise AnswerTooLargeError
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream, ANSWER_BYTES)


class GeminiImages:
    """An `AnswerRoute`: the calls of one installation. Without an aspect ratio a source keeps its own."""

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
        # Without redirects: one would carry the key to another host. A client of ours also keeps it from aiohttp.
        self._http = httpx2.AsyncClient(follow_redirects=False, timeout=None, event_hooks={"response": [_bound]})
        options = types.HttpOptions(
            base_url=base_url or None,
            api_version=api_version,
            # One attempt said out loud: without it the client repeats some connection errors when aiohttp is installed.
            retry_options=types.HttpRetryOptions(attempts=1),
            # A kept connection that the other side closes meanwhile would leave the outcome of a call unknown.
            headers={"connection": "close", "accept-encoding": "identity"},
            httpx_async_client=self._http,
        )
        self._client = genai.Client(vertexai=False, api_key=self._api_key, http_options=options)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aio.aclose()
        await self._http.aclose()
        await asyncio.to_thread(self._client.close)

    async def generate(self, call: Call, *, timeout_seconds: float) -> bytes:
        """As `AnswerRoute.generate`, of one picture."""
        try:
            async with asyncio.timeout(timeout_seconds):
                body = await self._send(call, timeout_seconds)
        except genai_errors.APIError as error:
            raise self._http_failure(error, call.model) from error
        except Exception as error:
            if submit_errors.is_transport_error(error):
                raise submit_errors.submit_interrupted(error) from error
            raise submit_errors.unreadable_answer(str(error), secret=self._api_key) from error
        return await asyncio.to_thread(read_image, body, secret=self._api_key)

    async def _send(self, call: Call, timeout_seconds: float) -> str:
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
        return submit_errors.submit_failure(error.code, error.details, headers, retired=retired, secret=self._api_key)


def read_image(body: str, *, secret: str = "") -> bytes:
    """The first picture of a generateContent answer.

    Raises:
        ProviderFailure: there is none; it says why.
    """
    answer = decoded(body)
    if not isinstance(answer, Mapping):
        raise submit_errors.unreadable_answer(body, secret=secret)
    candidates = [mapping(each) for each in items(answer.get("candidates"))]
    parts = [part for candidate in candidates for part in _parts(candidate)]
    for part in parts:
        data = _inline_data(part)
        if data is not None:
            return _bytes(data, answer, secret)
    raise _why_no_image(answer, candidates, parts, secret)


def _why_no_image(
    answer: Mapping[str, Any], candidates: list[Mapping[str, Any]], parts: list[Mapping[str, Any]], secret: str
) -> ProviderFailure:
    feedback = mapping(answer.get("promptFeedback"))
    if text(feedback.get("blockReason")):
        return results.blocked_prompt(feedback["blockReason"], text(feedback.get("blockReasonMessage")), secret=secret)
    candidate = candidates[0] if candidates else {}
    reason, message = text(candidate.get("finishReason")), text(candidate.get("finishMessage"))
    if not results.refuses(reason) and not all(_is_known(each) for each in candidates):
        return submit_errors.unreadable_answer(answer, secret=secret)
    words = " ".join(text(part.get("text")) for part in parts).strip()
    return results.no_image(reason, message, words, answer, secret=secret)


def _is_known(candidate: Mapping[str, Any]) -> bool:
    """True where a candidate holds words or nothing: a part of another kind may be a picture in a shape of its own."""
    content = candidate.get("content") or {}
    parts = content.get("parts") or [] if isinstance(content, Mapping) else None
    if not isinstance(parts, list):
        return False
    return all(
        isinstance(part, Mapping) and (part.get("thought") is True or part.keys() <= _KNOWN_PARTS) for part in parts
    )


def _parts(candidate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts that are meant for us: models that think may show drafts on the way."""
    parts = (mapping(part) for part in items(mapping(candidate.get("content")).get("parts")))
    return (part for part in parts if part.get("thought") is not True)


def _inline_data(part: Mapping[str, Any]) -> str | None:
    blob = mapping(part.get("inlineData"))
    return text(blob.get("data")) if text(blob.get("mimeType")).startswith("image/") else None


def _bytes(data: str, answer: Mapping[str, Any], secret: str) -> bytes:
    """Both base64 alphabets occur."""
    try:
        image = base64.b64decode(data.translate(_STANDARD_ALPHABET) + "=" * (-len(data) % 4), validate=True)
    except ValueError as error:
        raise results.damaged_image(answer, secret=secret) from error
    if not image:
        raise results.damaged_image(answer, secret=secret)
    return image
