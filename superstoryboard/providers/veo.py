"""Veo on the Gemini API: three REST calls. google-genai 3 refuses the first of them with an API key."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from superstoryboard.jobs.errors import CallOutcome
from superstoryboard.providers import errors
from superstoryboard.providers.catalogue import Catalogue, UnknownModel
from superstoryboard.providers.source import SourceImage

GOOGLE = "https://generativelanguage.googleapis.com"
KEY_HEADER = "x-goog-api-key"
MAX_REDIRECTS = 5

_CHUNK_BYTES = 1024 * 1024
_ERROR_BODY_BYTES = 64 * 1024
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_FILE = re.compile(r"/files/([A-Za-z0-9_-]+)")


@dataclass(frozen=True, kw_only=True)
class VideoCall:
    """What one submit asks for; `image` becomes the first frame."""

    model: str
    prompt: str
    aspect_ratio: str
    duration_seconds: int
    resolution: str
    image: SourceImage | None = None


@dataclass(frozen=True)
class OperationRunning:
    """The video is being made."""


@dataclass(frozen=True)
class OperationDone:
    """The video can be downloaded, for about two days."""

    uri: str


class VeoGemini:
    """The calls of one installation; the key travels in a header only, and only to the provider's own host."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        api_version: str = "v1beta",
        catalogue: Catalogue | None = None,
        submit_timeout_seconds: float = 60.0,
        poll_timeout_seconds: float = 30.0,
        download_timeout_seconds: float = 300.0,
    ) -> None:
        self._api_key = api_key.strip()
        self._base = httpx.URL(base_url or GOOGLE)
        self._root = f"{str(self._base).rstrip('/')}/{api_version}"
        self._catalogue = catalogue or Catalogue.load()
        self._submit_seconds = submit_timeout_seconds
        self._poll_seconds = poll_timeout_seconds
        self._download_seconds = download_timeout_seconds
        tls = httpx.create_ssl_context()
        timeout = httpx.Timeout(60.0, connect=10.0, pool=10.0)
        # A kept connection that the other side closes meanwhile would leave the outcome of a submit unknown.
        fresh = httpx.Limits(max_keepalive_connections=0)
        self._submits = httpx.AsyncClient(timeout=timeout, verify=tls, limits=fresh)
        self._reads = httpx.AsyncClient(timeout=timeout, verify=tls)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._submits.aclose()
        await self._reads.aclose()

    async def submit(self, call: VideoCall) -> str:
        """Order a video; returns the operation's name. This is the paid call.

        Raises:
            ProviderFailure: outcome UNPAID where it is settled that nothing is paid for, else UNKNOWN.
        """
        body = await asyncio.to_thread(_submit_body, call)
        url = f"{self._root}/models/{call.model}:predictLongRunning"
        headers = {KEY_HEADER: self._api_key, "content-type": "application/json"}
        try:
            async with asyncio.timeout(self._submit_seconds):
                response = await self._submits.post(url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise errors.submit_interrupted(error) from error
        answer = _decoded(response)
        if response.status_code != httpx.codes.OK:
            raise errors.submit_failure(
                response.status_code,
                answer,
                response.headers,
                retired=_retired(self._catalogue, call.model),
                secret=self._api_key,
            )
        name = answer.get("name") if isinstance(answer, Mapping) else None
        if not isinstance(name, str) or not name:
            raise errors.unreadable_answer()
        return name

    async def poll(self, name: str) -> OperationRunning | OperationDone:
        """Ask how far an operation is.

        Raises:
            ProviderFailure: outcome UNKNOWN: it may still run, poll on. UNPAID: it ended without a video. PAID: the
                video is lost.
        """
        if not _PATH.fullmatch(name):
            raise errors.unreadable_poll()
        try:
            async with asyncio.timeout(self._poll_seconds):
                response = await self._reads.get(f"{self._root}/{name}", headers={KEY_HEADER: self._api_key})
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise errors.read_interrupted(error, CallOutcome.UNKNOWN) from error
        answer = _decoded(response)
        if response.status_code != httpx.codes.OK:
            raise errors.poll_failure(response.status_code, answer, response.headers)
        return self._read_operation(answer)

    async def download(self, uri: str, destination: Path, max_bytes: int) -> None:
        """Stream a finished video into a file, which is removed again where that fails.

        Raises:
            ProviderFailure: outcome PAID; TRANSIENT where another try may help.
            OSError: the file cannot be written.
        """
        url = self._file_url(uri)
        file = await asyncio.to_thread(destination.open, "wb")
        complete = False
        try:
            async with asyncio.timeout(self._download_seconds):
                await self._fetch(url, file, max_bytes)
            complete = True
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise errors.read_interrupted(error, CallOutcome.PAID) from error
        finally:
            await asyncio.to_thread(_finish_file, file, destination, complete)

    def _read_operation(self, answer: object) -> OperationRunning | OperationDone:
        if not isinstance(answer, Mapping) or not ("name" in answer or "done" in answer):
            raise errors.unreadable_poll()
        if answer.get("done") is not True:
            return OperationRunning()
        if answer.get("error"):
            raise errors.operation_failure(answer["error"], secret=self._api_key)
        result = _mapping(_mapping(answer.get("response")).get("generateVideoResponse"))
        samples = _list(result.get("generatedSamples"))
        if samples:
            uri = _mapping(_mapping(samples[0]).get("video")).get("uri")
            if isinstance(uri, str) and uri:
                return OperationDone(uri)
            raise errors.unreachable_video()
        reasons = [reason for reason in _list(result.get("raiMediaFilteredReasons")) if isinstance(reason, str)]
        if reasons or result.get("raiMediaFilteredCount"):
            raise errors.filtered_video(reasons, secret=self._api_key)
        raise errors.empty_operation()

    def _file_url(self, uri: str) -> httpx.URL:
        """The address of a video: always under the configured base where the uri is of Google's host."""
        try:
            url = httpx.URL(uri)
        except httpx.InvalidURL as error:
            raise errors.unreachable_video() from error
        file = _FILE.search(url.path)
        if file and (url.host == httpx.URL(GOOGLE).host or _same_origin(url, self._base)):
            return httpx.URL(f"{self._root}/files/{file[1]}:download?alt=media")
        if not self._may_visit(url):
            raise errors.unreachable_video()
        return url

    def _may_visit(self, url: httpx.URL) -> bool:
        return url.scheme == "https" or (url.scheme == "http" == self._base.scheme)

    async def _fetch(self, url: httpx.URL, file: BinaryIO, max_bytes: int) -> None:
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"accept-encoding": "identity"}
            if _same_origin(url, self._base):
                headers[KEY_HEADER] = self._api_key
            request = self._reads.build_request("GET", url, headers=headers)
            response = await self._reads.send(request, stream=True)
            async with aclosing(response):
                if not response.has_redirect_location:
                    await _save(response, file, max_bytes)
                    return
                url = url.join(response.headers["location"])
            if not self._may_visit(url):
                raise errors.unreachable_video()
        raise errors.unreachable_video()


async def _save(response: httpx.Response, file: BinaryIO, max_bytes: int) -> None:
    if response.status_code != httpx.codes.OK:
        body = await _beginning(response)
        raise errors.download_failure(response.status_code, _json(body), response.headers)
    received = 0
    async for chunk in response.aiter_bytes(_CHUNK_BYTES):
        received += len(chunk)
        if received > max_bytes:
            raise errors.oversized_video(max_bytes)
        await asyncio.to_thread(file.write, chunk)


async def _beginning(response: httpx.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > _ERROR_BODY_BYTES:
            break
    return bytes(data)


def _finish_file(file: BinaryIO, destination: Path, complete: bool) -> None:
    try:
        file.close()
    finally:
        if not complete:
            destination.unlink(missing_ok=True)


def _submit_body(call: VideoCall) -> bytes:
    instance: dict[str, Any] = {"prompt": call.prompt}
    if call.image is not None:
        encoded = base64.b64encode(call.image.data).decode("ascii")
        instance["image"] = {"bytesBase64Encoded": encoded, "mimeType": call.image.media_type.value}
    parameters = {
        "aspectRatio": call.aspect_ratio,
        "durationSeconds": call.duration_seconds,
        "resolution": call.resolution,
    }
    return json.dumps({"instances": [instance], "parameters": parameters}).encode("ascii")


def _retired(catalogue: Catalogue, model: str) -> str:
    try:
        return catalogue.get(model).refusal
    except UnknownModel:
        return ""


def _same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _decoded(response: httpx.Response) -> object:
    return _json(response.content)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
