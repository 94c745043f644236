"""Upload bodies, multipart or raw, streamed to a file while size and MD5 are counted."""

import asyncio
import hashlib
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from .errors import WireError

_FLUSH_BYTES = 1 << 20
_MAX_FIELD_BYTES = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A received body, still in the uploads folder."""

    path: Path
    size_bytes: int
    etag: str
    media_type: str
    cache_control: str


class Spool:
    """Collects bytes in memory up to 1 MiB, then writes and hashes them in a thread."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting = bytearray()
        self._digest = hashlib.md5(usedforsecurity=False)
        self.size_bytes = 0

    async def write(self, data: bytes) -> None:
        self._waiting += data
        self.size_bytes += len(data)
        if len(self._waiting) >= _FLUSH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        block, self._waiting = self._waiting, bytearray()
        if block:
            await asyncio.to_thread(self._store, block)

    def _store(self, block: bytearray) -> None:
        self._digest.update(block)
        self._file.write(block)

    def etag(self) -> str:
        return f'"{self._digest.hexdigest()}"'


@dataclass
class _Part:
    headers: dict[str, str] = field(default_factory=dict)
    field_value: bytearray = field(default_factory=bytearray)

    @property
    def disposition(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers.get("content-disposition", ""))[1]

    @property
    def is_file(self) -> bool:
        return b"filename" in self.disposition


class Form:
    """Multipart state: text fields are kept, the bytes of the first file part wait in `file_data`."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.file_data: list[bytes] = []
        self.media_type: str | None = None
        self._part = _Part()
        self._in_file = False
        self._name = b""
        self._value = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def finish(self) -> None:
        self._parser.finalize()

    def _begin(self) -> None:
        self._part = _Part()
        self._in_file = False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        if self._part.is_file and self.media_type is None:
            self._in_file = True
            self.media_type = self._part.headers.get("content-type", "application/octet-stream")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.file_data.append(data[start:end])
        elif len(self._part.field_value) < _MAX_FIELD_BYTES:
            self._part.field_value += data[start:end]

    def _end(self) -> None:
        name = self._part.disposition.get(b"name", b"").decode("utf-8", "replace")
        if not self._part.is_file:
            self.fields[name] = self._part.field_value.decode("utf-8", "replace")


async def receive_upload(request: Request, directory: Path) -> Upload:
    """Stream the request's body into a new file of `directory`.

    Raises:
        WireError: the multipart body is not valid or holds no file.
    """
    path = directory / uuid.uuid4().hex
    file = await asyncio.to_thread(path.open, "wb")
    try:
        spool = Spool(file)
        content_type, options = parse_options_header(request.headers.get("content-type", ""))
        if content_type == b"multipart/form-data":
            media_type, cache_control = await _receive_form(request, options, spool)
        else:
            media_type, cache_control = await _receive_raw(request, spool)
        await spool.flush()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        await asyncio.to_thread(file.close)
    return Upload(path, spool.size_bytes, spool.etag(), media_type, cache_control)


async def _receive_raw(request: Request, spool: Spool) -> tuple[str, str]:
    async for chunk in request.stream():
        await spool.write(chunk)
    media_type = request.headers.get("content-type", "application/octet-stream")
    return media_type, request.headers.get("cache-control", "no-cache")


async def _receive_form(request: Request, options: dict[bytes, bytes], spool: Spool) -> tuple[str, str]:
    try:
        form = Form(options[b"boundary"])
        async for chunk in request.stream():
            form.write(chunk)
            for data in form.file_data:
                await spool.write(data)
            form.file_data.clear()
        form.finish()
    except (KeyError, FormParserError) as error:
        raise WireError.invalid_request("Invalid multipart body") from error
    if form.media_type is None:
        raise WireError.invalid_request("No file provided")
    seconds = form.fields.get("cacheControl")
    return form.media_type, f"max-age={seconds}" if seconds else "no-cache"


async def receive_json(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object; an empty body is an empty object."""
    raw = await request.body()
    try:
        body = json.loads(raw or b"{}")
    except ValueError as error:
        raise WireError.invalid_request("body is not valid JSON") from error
    if not isinstance(body, dict):
        raise WireError.invalid_request("body must be object")
    return body
