"""Objects streamed to a file; the supabase client would hold all their bytes in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from superstoryboard.foreign_json import decoded_json
from superstoryboard.storage.errors import StorageError, StorageErrorKind, refusal

_BLOCK_BYTES = 1 << 20
_MAX_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True)
class Downloaded:
    """What arrived: size in bytes and the SHA-256 in hexadecimal."""

    size_bytes: int
    sha256: str


async def save_body(response: httpx.Response, destination: Path, max_bytes: int) -> Downloaded:
    """Write a streamed answer to a new file, hashing on the way; no file stays behind on failure.

    Raises:
        StorageError: a refusal, or TOO_LARGE above `max_bytes`.
        httpx.HTTPError: the connection broke.
        OSError: the file cannot be written.
    """
    if response.status_code != httpx.codes.OK:
        raise await _refusal_of(response)
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    file = await asyncio.to_thread(destination.open, "wb")
    try:
        result = await _copy(response.aiter_bytes(_BLOCK_BYTES), file, max_bytes)
        await asyncio.to_thread(file.close)
    except BaseException:
        await asyncio.to_thread(_discard, file, destination)
        raise
    return result


def _discard(file: BinaryIO, destination: Path) -> None:
    destination.unlink(missing_ok=True)
    file.close()


async def _copy(blocks: AsyncIterator[bytes], file: BinaryIO, max_bytes: int) -> Downloaded:
    digest = hashlib.sha256()
    size = 0

    def store(block: bytes) -> None:
        digest.update(block)
        file.write(block)

    async for block in blocks:
        size += len(block)
        if size > max_bytes:
            raise _too_large(max_bytes)
        await asyncio.to_thread(store, block)
    return Downloaded(size, digest.hexdigest())


def _too_large(max_bytes: int) -> StorageError:
    return StorageError(StorageErrorKind.TOO_LARGE, f"the object is larger than {max_bytes} bytes")


async def _refusal_of(response: httpx.Response) -> StorageError:
    raw = bytearray()
    async for block in response.aiter_bytes(_MAX_ERROR_BYTES):
        raw += block
        if len(raw) >= _MAX_ERROR_BYTES:
            break
    body = decoded_json(bytes(raw))
    if isinstance(body, dict) and {"statusCode", "error"} <= body.keys():
        return refusal(str(body["statusCode"]), str(body["error"]), str(body.get("message", "")))
    return refusal(response.status_code, "InternalError", raw.decode(errors="replace"))
