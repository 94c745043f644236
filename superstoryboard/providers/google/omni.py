"""Gemini Omni by the Interactions API: one interaction in the background makes one video.

Plain REST like the other routes: google-genai's client of this API repeats a paid call up to five times by default.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from superstoryboard.providers.answers import items, mapping, text
from superstoryboard.providers.google import poll_errors, results
from superstoryboard.providers.google.files import answer_beside
from superstoryboard.providers.google.gemini_operations import GeminiOperations
from superstoryboard.providers.routes import Call, ListedOperation, OperationDone, OperationRunning

ROUTE = "interactions"

# An interaction may show its input again, and that holds a source picture of up to 20 MB in base64.
_ANSWER_BYTES = 40 * 1024 * 1024
_RUNNING = frozenset({"queued", "in_progress"})
_ENDED = frozenset(
    {
        "completed",
        "failed",
        "cancelled",
        "incomplete",
        "budget_exceeded",
        "requires_action",
        "requires_continuation",
    }
)
_WORDS = frozenset({"text", "thought"})


class Omni(GeminiOperations):
    """A `OperationRoute`: the calls of one installation with its API key."""

    lists = False

    @property
    def _interactions(self) -> str:
        return f"{self._root}/interactions"

    async def submit(self, call: Call) -> str:
        """As `OperationRoute.submit`; the name is the interaction's id."""
        body = await asyncio.to_thread(_submit_body, call, self._webhook_url)
        retired = self._catalogue.refusal(call.model)
        answer = await self._rest.submit(self._interactions, body, retired=retired, limit=_ANSWER_BYTES)
        return self._rest.named(answer, "id", ROUTE)

    async def poll(self, name: str) -> OperationRunning | OperationDone:
        """As `OperationRoute.poll`. A video whose file is still being processed counts as running."""
        answer = await self._rest.read("GET", self._address(name), limit=_ANSWER_BYTES)
        if answer.status != httpx.codes.OK:
            raise poll_errors.poll_failure(answer.status, answer.json(), answer.headers)
        interaction = await asyncio.to_thread(answer.json)
        video = _finished(interaction, secret=self._rest.access.secret)
        if video is None:
            return OperationRunning()
        if text(video.get("data")):
            return OperationDone(name)
        uri = text(video.get("uri"))
        if not uri:
            raise results.unreachable_video(interaction, secret=self._rest.access.secret)
        if uri.startswith("gs://"):
            raise results.video_in_bucket()
        return OperationDone(uri) if await self._files.ready(uri) else OperationRunning()

    async def recent(self, model: str) -> list[ListedOperation]:
        """As `OperationRoute.recent`: this API has no list."""
        del model
        return []

    async def download(self, location: str, destination: Path, max_bytes: int) -> None:
        """As `OperationRoute.download`; a small video may be inside its interaction."""
        if "://" in location:
            await self._files.download(location, destination, max_bytes)
            return
        async with answer_beside(destination, self._rest, self._address(location), _ANSWER_BYTES) as answer:
            await asyncio.to_thread(_take_out, answer, destination, max_bytes)

    def _address(self, name: str) -> str:
        if not name.strip("."):
            raise results.unreadable_poll()
        return f"{self._interactions}/{quote(name, safe='')}?stream=false"


def _submit_body(call: Call, webhook_url: str) -> bytes:
    content: list[dict[str, str]] = [{"type": "text", "text": call.prompt}]
    for source in call.sources[:1]:
        data = base64.b64encode(source.data).decode("ascii")
        content.append({"type": "image", "mime_type": source.media_type.value, "data": data})
    body: dict[str, Any] = {
        "model": call.model,
        # Without both there is nothing to come back to.
        "background": True,
        "store": True,
        "input": [{"type": "user_input", "content": content}],
        "response_format": {
            "type": "video",
            "aspect_ratio": call.aspect_ratio,
            "duration": f"{call.duration_seconds}s",
            "resolution": call.resolution,
            "delivery": "uri",
        },
        "generation_config": {"video_config": {"task": "image_to_video" if call.sources else "text_to_video"}},
    }
    if webhook_url:
        body["webhook_config"] = {"uris": [webhook_url], "user_metadata": dict(call.mark)}
    return json.dumps(body).encode("ascii")


def _finished(interaction: object, *, secret: str) -> Mapping[str, Any] | None:
    """The video of an interaction that has ended; None while it runs.

    Raises:
        ProviderFailure: outcome UNKNOWN: it is no interaction. UNPAID: it ended without a video. PAID: it ended with
            something that is not known here.
    """
    status = mapping(interaction).get("status")
    if not isinstance(status, str) or not status:
        raise results.unreadable_poll()
    if status in _RUNNING:
        return None
    video = next(_outputs(interaction, "video"), None)
    if video is not None and status in {"completed", "incomplete"}:
        return video
    if status not in _ENDED or video is not None or not _understood(interaction):
        raise results.unknown_result(interaction, secret=secret)
    raise results.interaction_ended(status, _problems(interaction), _words(interaction), secret=secret)


def _contents(interaction: object) -> Iterator[Any]:
    """What the model made, newest first; never what was put in."""
    for step in reversed(items(mapping(interaction).get("steps"))):
        if mapping(step).get("type") != "user_input":
            yield from items(mapping(step).get("content"))


def _outputs(interaction: object, kind: str) -> Iterator[Mapping[str, Any]]:
    return (content for each in _contents(interaction) if (content := mapping(each)).get("type") == kind)


def _understood(interaction: object) -> bool:
    """True where everything that the model made is words, so that there is no video in another shape."""
    fields = mapping(interaction)
    steps, problems = fields.get("steps") or [], fields.get("errors") or []
    if not isinstance(steps, list) or not isinstance(problems, list):
        return False
    shapes = (mapping(step).get("content") for step in steps)
    whole = all(isinstance(step, Mapping) for step in steps) and all(isinstance(each, list | None) for each in shapes)
    return whole and all(mapping(each).get("type") in _WORDS for each in _contents(interaction))


def _words(interaction: object) -> str:
    return " ".join(text(each.get("text")) for each in _outputs(interaction, "text")).strip()


def _problems(interaction: object) -> list[tuple[str, str]]:
    """Code and message of each error."""
    listed = [mapping(each) for each in items(mapping(interaction).get("errors"))]
    return [(text(each.get("code")), text(each.get("message"))) for each in listed]


def _take_out(answer: Path, destination: Path, max_bytes: int) -> None:
    """The bytes of a video inside an interaction."""
    try:
        data = next(_outputs(json.loads(answer.read_bytes()), "video"), {}).get("data")
        video = base64.b64decode(str(data or "").translate(str.maketrans("-_", "+/")), validate=True)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise results.unreadable_download() from error
    if not video:
        raise results.unreadable_download()
    if len(video) > max_bytes:
        raise results.oversized_video(max_bytes)
    destination.write_bytes(video)
