"""Files that the Gemini API keeps for about two days: whether they are ready, and their bytes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx

from superstoryboard.providers import errors
from superstoryboard.providers.rest import ERROR_BODY_BYTES, Destination, Rest, mapping, same_origin

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
            raise errors.file_failure(answer.status, answer.json(), answer.headers)
        state = mapping(answer.json()).get("state")
        if state == "FAILED":
            raise errors.failed_file()
        return state != "PROCESSING"

    async def download(self, uri: str, destination: Path, max_bytes: int) -> None:
        """As `VideoProvider.download`."""
        url = self._address(uri)
        async with Destination(destination) as file, asyncio.timeout(self._rest.timeouts.download):
            for _ in range(MAX_REDIRECTS + 1):
                onwards = await self._rest.fetch(url, file, max_bytes, trusted=same_origin(url, self._base))
                if onwards is None:
                    return
                if not self._may_visit(onwards):
                    break
                url = onwards
            raise errors.unreachable_video()

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
        url = _parsed(uri)
        if not self._may_visit(url):
            raise errors.unreachable_video()
        return url

    def _may_visit(self, url: httpx.URL) -> bool:
        return url.scheme == "https" or (url.scheme == "http" == self._base.scheme)


def _parsed(uri: str) -> httpx.URL:
    try:
        return httpx.URL(uri)
    except httpx.InvalidURL as error:
        raise errors.unreachable_video() from error
