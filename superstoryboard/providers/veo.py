"""Veo on the Gemini API: three REST calls. google-genai 3 refuses the first of them with an API key."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx

from superstoryboard.providers import errors, results
from superstoryboard.providers.access import ApiKey
from superstoryboard.providers.answers import items, mapping
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google_files import GOOGLE, GoogleFiles
from superstoryboard.providers.rest import Rest, Timeouts
from superstoryboard.providers.veo_wire import checked_name, ended, instance, parameters, without_video
from superstoryboard.providers.video import OperationDone, OperationRunning, VideoCall

ROUTE = "veo_gemini"

_POLL_BYTES = 1024 * 1024


class VeoGemini:
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
        self._root = f"{base_url}/{api_version}"
        self._catalogue = catalogue or Catalogue.load()
        self._rest = Rest(ApiKey(api_key), timeouts or Timeouts())
        self._files = GoogleFiles(self._rest, base_url, self._root)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rest.aclose()

    async def submit(self, call: VideoCall) -> str:
        """As `VideoProvider.submit`; the name is `models/…/operations/…`."""
        body = await asyncio.to_thread(_submit_body, call)
        url = f"{self._root}/models/{call.model}:predictLongRunning"
        answer = await self._rest.submit(url, body, retired=self._catalogue.refusal(call.model), limit=_POLL_BYTES)
        return self._rest.named(answer, "name", ROUTE)

    async def poll(self, name: str) -> OperationRunning | OperationDone:
        """As `VideoProvider.poll`. A video whose file is still being processed counts as running."""
        url = f"{self._root}/{checked_name(name)}"
        answer = await self._rest.read("GET", url, limit=_POLL_BYTES)
        if answer.status != httpx.codes.OK:
            raise errors.poll_failure(answer.status, answer.json(), answer.headers)
        secret = self._rest.access.secret
        operation = answer.json()
        response = ended(operation, secret=secret)
        if response is None:
            return OperationRunning()
        result = mapping(response.get("generateVideoResponse"))
        samples = items(result.get("generatedSamples"))
        if not samples:
            raise without_video(result, operation, secret=secret)
        uri = mapping(mapping(samples[0]).get("video")).get("uri")
        if not isinstance(uri, str) or not uri:
            raise results.unreachable_video(operation, secret=secret)
        return OperationDone(uri) if await self._files.ready(uri) else OperationRunning()

    async def download(self, uri: str, destination: Path, max_bytes: int) -> None:
        """As `VideoProvider.download`."""
        await self._files.download(uri, destination, max_bytes)


def _submit_body(call: VideoCall) -> bytes:
    return json.dumps({"instances": [instance(call)], "parameters": parameters(call)}).encode("ascii")
