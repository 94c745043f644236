"""The HTTP under every video route: one request each, nothing repeated, every body bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from superstoryboard.jobs.errors import CallOutcome
from superstoryboard.providers import errors
from superstoryboard.providers.access import Access, AccessError

BROKEN = (httpx.HTTPError, httpx.InvalidURL, OSError)
"""What httpx and the network raise; time-outs included."""
CHUNK_BYTES = 1024 * 1024
ERROR_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds for one submit, one poll and one download."""

    submit: float = 60.0
    poll: float = 30.0
    download: float = 300.0


@dataclass(frozen=True)
class Answer:
    """What came: status, headers and the body's beginning; `whole` where that is all of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    def json(self) -> object:
        """The decoded body, or None where it is no JSON."""
        return decoded(self.body) if self.whole else None


class Rest:
    """Connections to one provider. Credentials travel in headers only."""

    def __init__(self, access: Access, timeouts: Timeouts) -> None:
        self.access = access
        self.timeouts = timeouts
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

    async def submit(self, url: str, body: bytes, *, retired: str) -> object:
        """Send a paid call; returns the decoded answer. `retired` is the sentence for the service's own 404.

        Raises:
            ProviderFailure: outcome UNPAID where it is settled that nothing is paid for, else UNKNOWN.
        """
        headers = await self.headers(CallOutcome.UNPAID) | {"content-type": "application/json"}
        try:
            async with asyncio.timeout(self.timeouts.submit):
                response = await self._submits.post(url, content=body, headers=headers)
        except BROKEN as error:
            raise errors.submit_interrupted(error) from error
        answer = decoded(response.content)
        if response.status_code != httpx.codes.OK:
            raise errors.submit_failure(
                response.status_code, answer, response.headers, retired=retired, secret=self.access.secret
            )
        return answer

    async def read(self, method: str, url: str, *, limit: int, body: bytes | None = None) -> Answer:
        """Ask for something that costs nothing; reads at most about `limit` bytes of the body.

        Raises:
            ProviderFailure: outcome UNKNOWN: no answer came, ask again.
        """
        headers = await self.headers(CallOutcome.UNKNOWN) | {"content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(self.timeouts.poll),
                aclosing(await self._open(method, url, headers, body)) as got,
            ):
                data, whole = await beginning(got, limit)
                return Answer(got.status_code, got.headers, data, whole)
        except BROKEN as error:
            raise errors.read_interrupted(error, CallOutcome.UNKNOWN) from error

    async def fetch(
        self,
        url: httpx.URL,
        file: BinaryIO,
        max_bytes: int,
        *,
        trusted: bool,
        body: bytes | None = None,
        encoded: bool = False,
    ) -> httpx.URL | None:
        """Stream an answer into a file; returns where a redirect points to, else None. A body makes it a POST.

        Credentials go along only where the address is `trusted`. `encoded`: the video comes as base64 inside JSON.

        Raises:
            ProviderFailure: outcome PAID.
        """
        headers = {"accept-encoding": "identity"}
        if trusted:
            headers |= await self.headers(CallOutcome.PAID)
        if body is not None:
            headers["content-type"] = "application/json"
        async with aclosing(await self._open("GET" if body is None else "POST", str(url), headers, body)) as response:
            if response.has_redirect_location:
                return url.join(response.headers["location"])
            await _save(response, file, max_bytes, encoded=encoded)
        return None

    async def headers(self, outcome: CallOutcome) -> dict[str, str]:
        """Headers that show who we are; a failure to get them says `outcome` of the payment."""
        try:
            return await self.access.headers()
        except AccessError as error:
            raise errors.no_access(str(error), lasting=error.lasting, outcome=outcome) from error

    async def _open(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> httpx.Response:
        request = self._reads.build_request(method, url, headers=dict(headers), content=body)
        return await self._reads.send(request, stream=True)


class Destination:
    """A file that exists afterwards only where the block within ended well. Network trouble becomes a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO

    async def __aenter__(self) -> BinaryIO:
        self._file = await asyncio.to_thread(self._path.open, "wb")
        return self._file

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        await asyncio.to_thread(self._finish, complete=kind is None)
        if isinstance(error, (httpx.HTTPError, httpx.InvalidURL, TimeoutError)):
            raise errors.read_interrupted(error, CallOutcome.PAID) from error

    def _finish(self, *, complete: bool) -> None:
        try:
            self._file.close()
        finally:
            if not complete:
                self._path.unlink(missing_ok=True)


async def beginning(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """The first bytes of a body, a chunk more than `limit` at most, and whether they are all."""
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > limit:
            return bytes(data), False
    return bytes(data), True


async def _save(response: httpx.Response, file: BinaryIO, max_bytes: int, *, encoded: bool) -> None:
    if response.status_code != httpx.codes.OK:
        body, _ = await beginning(response, ERROR_BODY_BYTES)
        raise errors.download_failure(response.status_code, decoded(body), response.headers)
    received, limit = 0, max_bytes * 4 // 3 + ERROR_BODY_BYTES if encoded else max_bytes
    async for chunk in response.aiter_bytes(CHUNK_BYTES):
        received += len(chunk)
        if received > limit:
            raise errors.oversized_video(max_bytes)
        await asyncio.to_thread(file.write, chunk)


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """True where both are of one scheme, host and port."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def named(answer: object, field: str) -> str:
    """The name of an operation that was accepted.

    Raises:
        ProviderFailure: outcome UNKNOWN: the answer of 200 holds none.
    """
    name = answer.get(field) if isinstance(answer, Mapping) else None
    if not isinstance(name, str) or not name:
        raise errors.unreadable_answer()
    return name


def decoded(body: bytes) -> object:
    """JSON, or None for anything else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object, or an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """A JSON list, or an empty one for anything else."""
    return value if isinstance(value, list) else []
