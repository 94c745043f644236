"""Where a project's key set is read: its Auth over HTTP, or a file. Bounded in time and size, whatever answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Protocol

from superstoryboard.rpc.token_keys import MAX_SET_BYTES, KeySetError

READ_SECONDS = 3.0
"""For the whole answer, however slowly it comes."""
TOO_LARGE = f"must be at most {MAX_SET_BYTES} bytes"


class KeySource(Protocol):
    """Gives the bytes of a key set."""

    async def read(self) -> bytes:
        """The bytes, of which nothing is known yet.

        Raises:
            KeySetError: there are none, too many, or not in time.
        """
        ...


class KeyUrl:
    """A key set that Auth publishes. Each read has a connection of its own; redirects are not followed."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def read(self) -> bytes:
        """The body of an answer 200.

        Raises:
            KeySetError: no such answer.
        """
        import httpx  # noqa: PLC0415 - ingest needs it for this alone

        try:
            async with (
                asyncio.timeout(READ_SECONDS),
                httpx.AsyncClient(follow_redirects=False, timeout=READ_SECONDS) as client,
                client.stream("GET", self._url, headers={"accept-encoding": "identity"}) as answer,
            ):
                return await _body(answer.status_code, answer.headers.get("content-encoding"), answer.aiter_raw())
        except (TimeoutError, httpx.TimeoutException):
            raise KeySetError(f"did not answer within {READ_SECONDS:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # also a proxy of the environment
            raise KeySetError(f"cannot be reached ({type(error).__name__})") from None


async def _body(status: int, encoding: str | None, blocks: AsyncIterable[bytes]) -> bytes:
    if status != 200:
        raise KeySetError(f"answered with HTTP {status}")
    if encoding not in (None, "identity"):
        raise KeySetError("answered with a compressed body, which was not asked for")
    body = bytearray()
    async for block in blocks:
        body += block
        if len(body) > MAX_SET_BYTES:
            raise KeySetError(TOO_LARGE)
    return bytes(body)


class KeyFile:
    """A key set in a file, read again like one at a URL."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> bytes:
        """The content of the file.

        Raises:
            KeySetError: it cannot be read, or is too large.
        """
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_SET_BYTES + 1)
        except OSError as error:
            raise KeySetError(f"cannot be read ({type(error).__name__})") from None
        if len(content) > MAX_SET_BYTES:
            raise KeySetError(TOO_LARGE)
        return content
