"""Veo on the Gemini API: three REST calls. google-genai 3 refuses the first of them with an API key."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from superstoryboard.providers.answers import items, mapping, text
from superstoryboard.providers.google import poll_errors, results
from superstoryboard.providers.google.gemini_operations import GeminiOperations
from superstoryboard.providers.google.veo_wire import checked_name, ended, instance, parameters, without_video
from superstoryboard.providers.operation_names import is_operation_name
from superstoryboard.providers.routes import Call, ListedOperation, OperationDone, OperationRunning

ROUTE = "veo_gemini"

_POLL_BYTES = 1024 * 1024
_LIST_BYTES = 8 * 1024 * 1024
_PAGE, _PAGES = 100, 10
_NO_LIST = frozenset({404, 405, 501})


class VeoGemini(GeminiOperations):
    """A `OperationRoute`: the calls of one installation with its API key."""

    lists = True
    """Until the provider says that it has no list."""

    async def submit(self, call: Call) -> str:
        """As `OperationRoute.submit`; the name is `models/…/operations/…`."""
        body = await asyncio.to_thread(_submit_body, call, self._webhook_url)
        url = f"{self._root}/models/{call.model}:predictLongRunning"
        answer = await self._rest.submit(url, body, retired=self._catalogue.refusal(call.model), limit=_POLL_BYTES)
        return self._rest.named(answer, "name", ROUTE)

    async def poll(self, name: str) -> OperationRunning | OperationDone:
        """As `OperationRoute.poll`. A video whose file is still being processed counts as running."""
        url = f"{self._root}/{checked_name(name)}"
        answer = await self._rest.read("GET", url, limit=_POLL_BYTES)
        if answer.status != httpx.codes.OK:
            raise poll_errors.poll_failure(answer.status, answer.json(), answer.headers)
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

    async def recent(self, model: str) -> list[ListedOperation]:
        """As `OperationRoute.recent`. That the service has no such list is remembered while the process lives."""
        operations: list[ListedOperation] = []
        token = ""
        for _ in range(_PAGES if self.lists else 0):
            url = f"{self._root}/models/{model}/operations?pageSize={_PAGE}" + (f"&pageToken={token}" if token else "")
            answer = await self._rest.read("GET", url, limit=_LIST_BYTES)
            if answer.status in _NO_LIST:
                self.lists = False
                break
            if answer.status != httpx.codes.OK:
                raise poll_errors.poll_failure(answer.status, None, answer.headers)
            page = mapping(await asyncio.to_thread(answer.json))
            operations += filter(None, map(_listed, items(page.get("operations"))))
            token = quote(text(page.get("nextPageToken")), safe="")
            if not token:
                break
        return operations

    async def download(self, location: str, destination: Path, max_bytes: int) -> None:
        """As `OperationRoute.download`."""
        await self._files.download(location, destination, max_bytes)


def _submit_body(call: Call, webhook_url: str) -> bytes:
    body: dict[str, Any] = {"instances": [instance(call)], "parameters": parameters(call)}
    if webhook_url:
        body["webhookConfig"] = {"uris": [webhook_url], "userMetadata": dict(call.mark)}
    return json.dumps(body).encode("ascii")


def _listed(operation: object) -> ListedOperation | None:
    """An entry of the list; what it shows beside its name is read where it has the shape that is hoped for."""
    name = text(mapping(operation).get("name"))
    if not is_operation_name(ROUTE, name):
        return None
    metadata = mapping(mapping(operation).get("metadata"))
    asked, duration = mapping(metadata.get("parameters")), mapping(metadata.get("parameters")).get("durationSeconds")
    mark = mapping(metadata.get("userMetadata") or mapping(metadata.get("webhookConfig")).get("userMetadata"))
    return ListedOperation(
        name=name,
        created_at=_time(text(metadata.get("createTime"))),
        mark={key: value for key, value in mark.items() if isinstance(value, str)},
        prompt=text(metadata.get("prompt")) or None,
        aspect_ratio=text(asked.get("aspectRatio")) or None,
        duration_seconds=duration if type(duration) is int else None,
        resolution=text(asked.get("resolution")) or None,
    )


def _time(shown: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(shown)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
