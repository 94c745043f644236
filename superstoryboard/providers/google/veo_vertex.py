"""Veo on Vertex AI, by an express API key or in a project with Google credentials. A video comes inside its operation.

Plain REST like the other routes: google-genai would hold each video several times over in memory, and 45 MB itself.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx

from superstoryboard.providers.answers import items, mapping
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google import poll_errors, results
from superstoryboard.providers.google.access import Access, ApiKey, GoogleLogin
from superstoryboard.providers.google.files import answer_beside
from superstoryboard.providers.google.inline_base64 import NotBase64Error, copy_base64
from superstoryboard.providers.google.rest import Rest, Timeouts
from superstoryboard.providers.google.veo_wire import checked_name, ended, instance, parameters, without_video
from superstoryboard.providers.routes import Call, ListedOperation, OperationDone, OperationRunning

ROUTE = "veo_vertex"
DEFAULT_LOCATION = "us-central1"
API_VERSION = "v1beta1"
INLINE = "bytesBase64Encoded"

_HEAD_BYTES = 64 * 1024
_LOCATION = re.compile(r"projects/[^/]+/locations/([^/]+)/")
_MULTI_REGIONS = frozenset({"us", "eu"})


class VeoVertex:
    """A `OperationRoute`: the calls of one express key, or of one project and location."""

    lists = False
    tells = False

    def __init__(
        self,
        *,
        api_key: str = "",
        project: str = "",
        location: str = "",
        base_url: str | None = None,
        access: Access | None = None,
        catalogue: Catalogue | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._express = not project
        self._location = location or DEFAULT_LOCATION
        self._base_url = (base_url or "").rstrip("/")
        parent = f"projects/{project}/locations/{self._location}/" if project else ""
        self._models = f"{parent}publishers/google/models"
        self._catalogue = catalogue or Catalogue.load()
        # A project's own credentials come first: a key belongs to express mode.
        self._rest = Rest(access or (GoogleLogin() if project else ApiKey(api_key)), timeouts or Timeouts())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rest.aclose()

    async def submit(self, call: Call) -> str:
        """As `OperationRoute.submit`; the name is `projects/…/operations/…`."""
        body = await asyncio.to_thread(_submit_body, call)
        url = f"{self._root(self._location)}/{self._models}/{call.model}:predictLongRunning"
        answer = await self._rest.submit(url, body, retired=self._catalogue.refusal(call.model), limit=_HEAD_BYTES)
        return self._rest.named(answer, "name", ROUTE)

    async def poll(self, name: str) -> OperationRunning | OperationDone:
        """As `OperationRoute.poll`. Of an answer that holds a video only the beginning is read."""
        url, body = self._question(name)
        answer = await self._rest.read("POST", url, limit=_HEAD_BYTES, body=body)
        if answer.status != httpx.codes.OK:
            raise poll_errors.poll_failure(answer.status, answer.json(), answer.headers)
        if not answer.whole:
            if re.search(rb'"%s"\s*:\s*"' % INLINE.encode(), answer.body[:_HEAD_BYTES]):
                return OperationDone(name)
            raise results.unreadable_poll()
        secret = self._rest.access.secret
        operation = answer.json()
        response = ended(operation, secret=secret)
        if response is None:
            return OperationRunning()
        videos = items(response.get("videos"))
        if not videos:
            raise without_video(response, operation, secret=secret)
        video = mapping(videos[0])
        if video.get(INLINE):
            return OperationDone(name)
        if video.get("gcsUri"):
            raise results.video_in_bucket()
        raise results.unreachable_video(operation, secret=secret)

    async def recent(self, model: str) -> list[ListedOperation]:
        """As `OperationRoute.recent`: this API has no list."""
        del model
        return []

    async def download(self, location: str, destination: Path, max_bytes: int) -> None:
        """As `OperationRoute.download`: asks for the operation again, into a file, and takes the video out."""
        url, body = self._question(location)
        async with answer_beside(destination, self._rest, url, max_bytes, body=body, encoded=True) as answer:
            size = await asyncio.to_thread(_take_out, answer, destination)
            if size > max_bytes:
                await asyncio.to_thread(destination.unlink)
                raise results.oversized_video(max_bytes)

    def _question(self, name: str) -> tuple[str, bytes]:
        """The address and body that ask for an operation; its own location answers, whatever is configured by now."""
        model, separator, _ = checked_name(name).rpartition("/operations/")
        if not separator:
            raise results.unreadable_poll()
        location = _LOCATION.match(name)
        root = self._root(location[1] if location else self._location)
        return f"{root}/{model}:fetchPredictOperation", json.dumps({"operationName": name}).encode("ascii")

    def _root(self, location: str) -> str:
        if self._base_url:
            base = self._base_url
        elif self._express or location == "global":
            base = "https://aiplatform.googleapis.com"
        elif location in _MULTI_REGIONS:
            base = f"https://aiplatform.{location}.rep.googleapis.com"
        else:
            base = f"https://{location}-aiplatform.googleapis.com"
        return f"{base}/{API_VERSION}"


def _submit_body(call: Call) -> bytes:
    # One video, said out loud: each further one would be paid for. Without generateAudio it would be silent.
    asked = parameters(call) | {"sampleCount": 1, "generateAudio": True}
    return json.dumps({"instances": [instance(call)], "parameters": asked}).encode("ascii")


def _take_out(answer: Path, destination: Path) -> int:
    try:
        with answer.open("rb") as source, destination.open("wb") as target:
            return copy_base64(source, target, INLINE, within=_HEAD_BYTES)
    except NotBase64Error as error:
        destination.unlink(missing_ok=True)
        raise results.unreadable_download() from error
