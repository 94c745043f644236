"""The HTTP under every video route: one request each, nothing repeated, every body and every number at once bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from superstoryboard.domain.errors import CallOutcome
from superstoryboard.providers.answers import decoded, mapping
from superstoryboard.providers.google import failures, poll_errors, results, submit_errors
from superstoryboard.providers.google.access import Access, AccessError
from superstoryboard.providers.operation_names import is_operation_name

BROKEN = (httpx.HTTPError, httpx.InvalidURL, OSError)
"""What httpx and the network raise; time-outs included."""
CHUNK_BYTES = 1024 * 1024
ERROR_BODY_BYTES = 64 * 1024
QUESTIONS_AT_ONCE = 40
"""Polls under way at once. More of them wait here, where waiting costs nothing: with a thousand requests inside, httpx
spends the loop on handing out its connections."""
DOWNLOADS_AT_ONCE = 16
PLAIN = {"accept-encoding": "identity"}
"""Compressed answers could grow without bound; none are asked for, and none are read."""


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
        kept = httpx.Limits(max_connections=QUESTIONS_AT_ONCE, max_keepalive_connections=QUESTIONS_AT_ONCE)
        self._submits = httpx.AsyncClient(timeout=timeout, verify=tls, limits=fresh)
        self._questions = httpx.AsyncClient(timeout=timeout, verify=tls, limits=kept)
        self._downloads = httpx.AsyncClient(timeout=timeout, verify=tls)
        # To a checked address, under the name of its host: a proxy or a kept connection would make the check void.
        self._elsewhere = httpx.AsyncClient(timeout=timeout, verify=tls, limits=fresh, trust_env=False)
        self._questioning = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self.downloading = asyncio.Semaphore(DOWNLOADS_AT_ONCE)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._submits.aclose()
        await self._questions.aclose()
        await self._downloads.aclose()
        await self._elsewhere.aclose()

    async def submit(self, url: str, body: bytes, *, retired: str, limit: int) -> object:
        """Send a paid call; returns the decoded answer. `retired` is the sentence for the service's own 404.

        Raises:
            ProviderFailure: outcome UNPAID where it is settled that nothing is paid for, else UNKNOWN.
        """
        headers = await self.headers(CallOutcome.UNPAID) | {"content-type": "application/json"} | PLAIN
        try:
            async with (
                asyncio.timeout(self.timeouts.submit),
                aclosing(await _open(self._submits, "POST", url, headers, body)) as got,
            ):
                answer = Answer(got.status_code, got.headers, *await beginning(got, limit))
        except BROKEN as error:
            raise submit_errors.submit_interrupted(error) from error
        content = answer.json()
        if answer.status != httpx.codes.OK:
            raise submit_errors.submit_failure(
                answer.status, content, answer.headers, retired=retired, secret=self.access.secret, raw=answer.body
            )
        if content is None:
            raise submit_errors.unreadable_answer(answer.body, secret=self.access.secret)
        return content

    def named(self, answer: object, field: str, route: str) -> str:
        """The name of an operation that was accepted.

        Raises:
            ProviderFailure: outcome UNKNOWN: the answer of 200 holds none that could be asked for.
        """
        name = mapping(answer).get(field)
        if not isinstance(name, str) or not is_operation_name(route, name):
            raise submit_errors.unreadable_answer(answer, secret=self.access.secret)
        return name

    async def read(self, method: str, url: str, *, limit: int, body: bytes | None = None) -> Answer:
        """Ask for something that costs nothing; reads at most about `limit` bytes of the body.

        Raises:
            ProviderFailure: outcome UNKNOWN: no answer came, ask again.
        """
        headers = await self.headers(CallOutcome.UNKNOWN) | {"content-type": "application/json"} | PLAIN
        try:
            async with (
                self._questioning,
                asyncio.timeout(self.timeouts.poll),
                aclosing(await _open(self._questions, method, url, headers, body)) as got,
            ):
                return Answer(got.status_code, got.headers, *await beginning(got, limit))
        except BROKEN as error:
            raise poll_errors.read_interrupted(error, CallOutcome.UNKNOWN) from error

    async def fetch(
        self,
        url: httpx.URL,
        file: BinaryIO,
        max_bytes: int,
        *,
        body: bytes | None = None,
        encoded: bool = False,
    ) -> httpx.URL | None:
        """Stream an answer of the provider's own host into a file; returns where a redirect points to, else None.

        A body makes it a POST. `encoded`: the video comes as base64 inside JSON.

        Raises:
            ProviderFailure: outcome PAID.
        """
        headers = await self.headers(CallOutcome.PAID) | PLAIN
        if body is not None:
            headers["content-type"] = "application/json"
        method = "GET" if body is None else "POST"
        async with aclosing(await _open(self._downloads, method, url, headers, body)) as response:
            return await _saved(response, url, file, max_bytes, encoded=encoded)

    async def fetch_elsewhere(
        self, url: httpx.URL, addresses: Sequence[str], file: BinaryIO, max_bytes: int
    ) -> httpx.URL | None:
        """As `fetch`, without credentials, from another host at one of the addresses that it was found to have.

        No addresses: the host is trusted, and reached by its name.
        """
        headers, extensions, target = dict(PLAIN), {}, url
        if addresses:
            headers["host"] = url.netloc.decode("ascii")
            extensions = {"sni_hostname": url.raw_host.decode("ascii")}
            target = url.copy_with(host=addresses[0])
        request = self._elsewhere.build_request("GET", target, headers=headers, extensions=extensions)
        async with aclosing(await self._elsewhere.send(request, stream=True)) as response:
            return await _saved(response, url, file, max_bytes, encoded=False)

    async def headers(self, outcome: CallOutcome) -> dict[str, str]:
        """Headers that show who we are; a failure to get them says `outcome` of the payment."""
        try:
            return await self.access.headers()
        except AccessError as error:
            raise failures.no_access(str(error), lasting=error.lasting, outcome=outcome) from error


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
            raise poll_errors.read_interrupted(error, CallOutcome.PAID) from error

    def _finish(self, *, complete: bool) -> None:
        try:
            self._file.close()
        finally:
            if not complete:
                self._path.unlink(missing_ok=True)


async def beginning(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """The first bytes of a body, a chunk more than `limit` at most, and whether they are all and as they were meant."""
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > limit:
            return bytes(data), False
    return bytes(data), _plain(response)


def _plain(response: httpx.Response) -> bool:
    return response.headers.get("content-encoding", "identity").strip().lower() in {"", "identity"}


async def _open(
    client: httpx.AsyncClient, method: str, url: str | httpx.URL, headers: Mapping[str, str], body: bytes | None
) -> httpx.Response:
    request = client.build_request(method, url, headers=dict(headers), content=body)
    return await client.send(request, stream=True)


async def _saved(
    response: httpx.Response, url: httpx.URL, file: BinaryIO, max_bytes: int, *, encoded: bool
) -> httpx.URL | None:
    """Where a redirect points to; None once the body is in the file."""
    if response.has_redirect_location:
        return url.join(response.headers["location"])  # one that is no URL was refused with the answer
    if response.status_code != httpx.codes.OK:
        body, _ = await beginning(response, ERROR_BODY_BYTES)
        raise poll_errors.download_failure(response.status_code, decoded(body), response.headers)
    if not _plain(response):
        raise results.unreadable_download()
    received, limit = 0, max_bytes * 4 // 3 + ERROR_BODY_BYTES if encoded else max_bytes
    async for chunk in response.aiter_raw(CHUNK_BYTES):
        received += len(chunk)
        if received > limit:
            raise results.oversized_video(max_bytes)
        await asyncio.to_thread(file.write, chunk)
    return None


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """True where both are of one scheme, host and port."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)
