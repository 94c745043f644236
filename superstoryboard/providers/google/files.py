"""Files that the Gemini API keeps for about two days: whether they are ready, and their bytes."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from superstoryboard.domain.errors import CallOutcome
from superstoryboard.providers.addresses import is_public
from superstoryboard.providers.answers import mapping
from superstoryboard.providers.google import poll_errors, results
from superstoryboard.providers.google.rest import ERROR_BODY_BYTES, Destination, Rest, same_origin

GOOGLE = "https://generativelanguage.googleapis.com"
MAX_REDIRECTS = 5

_FILE = re.compile(r"/files/([A-Za-z0-9_-]+)")


class GoogleFiles:
    """Files by their addresses; credentials go to the provider's own host only."""

    def __init__(self, rest: Rest, base_url: str, root: str) -> None:
        self._rest = rest
        self._base = httpx.URL(base_url)
        self._root = root

    async def ready(self, uri: str) -> bool:
        """False while the provider still processes a finished file.

        Raises:
            ProviderFailure: outcome UNKNOWN: ask again. PAID: the file is gone or failed.
        """
        file = self._file_id(uri)
        if file is None:
            return True
        answer = await self._rest.read("GET", f"{self._root}/files/{file}", limit=ERROR_BODY_BYTES)
        if answer.status != httpx.codes.OK:
            raise poll_errors.file_failure(answer.status, answer.json(), answer.headers)
        state = mapping(answer.json()).get("state")
        if state == "FAILED":
            raise results.failed_file()
        return state != "PROCESSING"

    async def download(self, uri: str, destination: Path, max_bytes: int) -> None:
        """As `OperationRoute.download`."""
        url = self._address(uri)
        async with (
            self._rest.downloading,
            Destination(destination) as file,
            asyncio.timeout(self._rest.timeouts.download),
        ):
            for _ in range(MAX_REDIRECTS + 1):
                if same_origin(url, self._base):
                    onwards = await self._rest.fetch(url, file, max_bytes)
                else:
                    onwards = await self._rest.fetch_elsewhere(url, await self._addresses(url), file, max_bytes)
                if onwards is None:
                    return
                url = onwards
            raise results.unreachable_video()

    def _file_id(self, uri: str) -> str | None:
        """The id of a file that is Google's own; None for any other address."""
        url = _parsed(uri)
        file = _FILE.search(url.path)
        own = url.host == httpx.URL(GOOGLE).host or same_origin(url, self._base)
        return file[1] if file and own else None

    def _address(self, uri: str) -> httpx.URL:
        """Where the bytes are: always under the configured base where the file is Google's own."""
        file = self._file_id(uri)
        if file is not None:
            return httpx.URL(f"{self._root}/files/{file}:download?alt=media")
        return _parsed(uri)

    async def _addresses(self, url: httpx.URL) -> tuple[str, ...]:
        """Where another host is reached: over https, at public addresses only; none for the host that is configured.

        Raises:
            ProviderFailure: outcome PAID: it may not be visited, or cannot be found now.
        """
        if url.host == self._base.host and url.scheme in {"https", self._base.scheme}:
            return ()
        if url.scheme != "https" or url.userinfo or not url.host:
            raise results.unreachable_video()
        try:
            loop = asyncio.get_running_loop()
            listed = await loop.getaddrinfo(url.raw_host.decode("ascii"), url.port or 443, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise results.unreachable_video() from error
        except OSError as error:
            raise poll_errors.read_interrupted(error, CallOutcome.PAID) from error
        texts = tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in listed))
        if not all(is_public(ipaddress.ip_address(each)) for each in texts):
            raise results.unreachable_video()
        return texts


@asynccontextmanager
async def answer_beside(
    destination: Path, rest: Rest, url: str, max_bytes: int, *, body: bytes | None = None, encoded: bool = False
) -> AsyncIterator[Path]:
    """An answer that holds a video, as `Rest.fetch` asks for it: a file beside the video's, removed in the end."""
    answer = destination.with_name(f"{destination.name}.json")
    try:
        async with rest.downloading, Destination(answer) as file, asyncio.timeout(rest.timeouts.download):
            if await rest.fetch(httpx.URL(url), file, max_bytes, body=body, encoded=encoded):
                raise results.unreachable_video()
        yield answer
    finally:
        await asyncio.to_thread(answer.unlink, missing_ok=True)


def _parsed(uri: str) -> httpx.URL:
    try:
        return httpx.URL(uri)
    except (httpx.InvalidURL, ValueError) as error:
        raise results.unreachable_video() from error
