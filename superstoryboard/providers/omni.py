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

from superstoryboard.providers import errors
from superstoryboard.providers.access import ApiKey
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google_files import GOOGLE, GoogleFiles
from superstoryboard.providers.rest import Destination, Rest, Timeouts, items, mapping, named
from superstoryboard.providers.video import OperationDone, OperationRunning, VideoCall

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


class Omni:
    """A `VideoProvider`: the calls of one installation with its API key."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        api_version: str = "v1beta",
        catalogue: Catalogue | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        base_url = (base_url or GOOGLE).rstrip("/")
        root = f"{base_url}/{api_version}"
        self._interactions = f"{root}/interactions"
        self._catalogue = catalogue or Catalogue.load()
        self._rest = Rest(ApiKey(api_key), timeouts or Timeouts())
        self._files = GoogleFiles(self._rest, base_url, root)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rest.aclose()

    async def submit(self, call: VideoCall) -> str:
        """As `VideoProvider.submit`; the name is the interaction's id."""
        body = await asyncio.to_thread(_submit_body, call)
        answer = await self._rest.submit(self._interactions, body, retired=self._catalogue.refusal(call.model))
        return named(answer, "id")

    async def poll(self, name: str) -> OperationRunning | OperationDone:
        """As `VideoProvider.poll`. A video whose file is still being processed counts as running."""
        answer = await self._rest.read("GET", self._address(name), limit=_ANSWER_BYTES)
        if answer.status != httpx.codes.OK:
            raise errors.poll_failure(answer.status, answer.json(), answer.headers)
        interaction = await asyncio.to_thread(answer.json)
        status = mapping(interaction).get("status")
        if status in _RUNNING:
            return OperationRunning()
        if status not in _ENDED:
            raise errors.unreadable_poll()
        video = _video(interaction)
        if video is None or status not in {"completed", "incomplete"}:
            raise errors.interaction_ended(
                str(status), _problems(interaction), _words(interaction), secret=self._rest.access.secret
            )
        if video.get("data"):
            return OperationDone(name)
        uri = video.get("uri")
        if not isinstance(uri, str) or not uri:
            raise errors.unreachable_video()
        if uri.startswith("gs://"):
            raise errors.video_in_bucket()
        return OperationDone(uri) if await self._files.ready(uri) else OperationRunning()

    async def download(self, uri: str, destination: Path, max_bytes: int) -> None:
        """As `VideoProvider.download`; a small video may be inside its interaction."""
        if "://" in uri:
            await self._files.download(uri, destination, max_bytes)
            return
        answer = destination.with_name(f"{destination.name}.json")
        try:
            async with Destination(answer) as file, asyncio.timeout(self._rest.timeouts.download):
                address = httpx.URL(self._address(uri))
                if await self._rest.fetch(address, file, _ANSWER_BYTES, trusted=True):
                    raise errors.unreachable_video()
            await asyncio.to_thread(_take_out, answer, destination, max_bytes)
        finally:
            await asyncio.to_thread(answer.unlink, missing_ok=True)

    def _address(self, name: str) -> str:
        if not name.strip("."):
            raise errors.unreadable_poll()
        return f"{self._interactions}/{quote(name, safe='')}?stream=false"


def _submit_body(call: VideoCall) -> bytes:
    content: list[dict[str, str]] = [{"type": "text", "text": call.prompt}]
    if call.image is not None:
        data = base64.b64encode(call.image.data).decode("ascii")
        content.append({"type": "image", "mime_type": call.image.media_type.value, "data": data})
    body = {
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
        "generation_config": {"video_config": {"task": "image_to_video" if call.image else "text_to_video"}},
    }
    return json.dumps(body).encode("ascii")


def _outputs(interaction: object, kind: str) -> Iterator[Mapping[str, Any]]:
    """What the model made, newest first; never what was put in."""
    for step in reversed(items(mapping(interaction).get("steps"))):
        if mapping(step).get("type") == "user_input":
            continue
        for content in items(mapping(step).get("content")):
            if mapping(content).get("type") == kind:
                yield content


def _video(interaction: object) -> Mapping[str, Any] | None:
    return next(_outputs(interaction, "video"), None)


def _words(interaction: object) -> str:
    return " ".join(text for each in _outputs(interaction, "text") if isinstance(text := each.get("text"), str))


def _problems(interaction: object) -> list[tuple[str, str]]:
    """Code and message of each error, as texts."""
    found = [mapping(each) for each in items(mapping(interaction).get("errors"))]
    return [(str(each.get("code") or ""), str(each.get("message") or "")) for each in found]


def _take_out(answer: Path, destination: Path, max_bytes: int) -> None:
    """The bytes of a video inside an interaction."""
    try:
        data = (_video(json.loads(answer.read_bytes())) or {}).get("data")
        video = base64.b64decode(str(data or "").translate(str.maketrans("-_", "+/")), validate=True)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise errors.unreadable_download() from error
    if not video:
        raise errors.unreadable_download()
    if len(video) > max_bytes:
        raise errors.oversized_video(max_bytes)
    destination.write_bytes(video)
