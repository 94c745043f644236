"""Looks at Supabase Storage: what `storyboard doctor` asks of it. Only a probe writes, and it removes that again."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import uuid4

import httpx

from superstoryboard.foreign_json import decoded_json
from superstoryboard.storage.causes import Cause, cause_of
from superstoryboard.storage.keys import key_headers

TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5.0
PROBE_TYPE = "image/png"
# The smallest PNG: buckets that take pictures only take it.
PROBE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
)


class StorageInspectionError(Exception):
    """Storage cannot be asked; the message holds no key and no address."""


class Rights(StrEnum):
    """What Storage says to one call with one key."""

    ALLOWED = "ALLOWED"
    REFUSED = "REFUSED"
    """The key is good, the call is not for it."""
    BAD_KEY = "BAD_KEY"
    MISSING = "MISSING"
    """The bucket or object is not there, or the key may not see it."""
    OTHER_LIMITS = "OTHER_LIMITS"
    """The bucket rejects a small PNG."""
    EXPIRED = "EXPIRED"
    SIGNATURE = "SIGNATURE"
    ROLE = "ROLE"
    NO_API_KEY = "NO_API_KEY"
    """The last four: the key is refused for the `Cause` of that name."""

    @property
    def cause(self) -> Cause | None:
        """Why the key is refused, where Storage or its gateway says so."""
        return Cause.__members__.get(self.name)


@dataclass(frozen=True)
class Bucket:
    """A bucket as Storage lists it; sizes in bytes, None is no limit."""

    id: str
    public: bool
    file_size_limit: int | None
    allowed_mime_types: tuple[str, ...] | None


@dataclass(frozen=True)
class ProbeResult:
    """What a key may do with one small object of its own; `left_behind` is the key of an object that stayed."""

    write: Rights
    read: Rights | None = None
    delete: Rights | None = None
    left_behind: str = ""


class StorageInspection:
    """One Storage; each call names the key that it uses."""

    def __init__(self, http: httpx.AsyncClient, url: str, api_key: str | None) -> None:
        self._http = http
        self._api_key = api_key
        self._root = f"{url.rstrip('/')}/storage/v1"

    def _headers(self, key: str) -> dict[str, str]:
        """As ObjectStore sends a key, so that what is tested is what works; none without a key."""
        return key_headers(key, self._api_key) if key else {}

    async def is_storage(self) -> bool:
        """Whether what answers speaks as Storage does: JSON, and no 404, to a caller without a key."""
        response = await self._send("GET", "bucket", "")
        if response.status_code >= 500:
            raise _busy(response.status_code)
        return response.status_code not in (404, 405) and _body(response) is not None

    async def buckets(self, key: str) -> list[Bucket] | Rights:
        """All buckets that a key may see, or why none are shown."""
        response = await self._send("GET", "bucket", key)
        body = _body(response)
        if response.is_success and isinstance(body, list):
            return [_bucket(each) for each in body if isinstance(each, Mapping)]
        return _rights(response)

    async def probe(self, key: str, bucket: str, media_type: str, *, cleaner_key: str = "") -> ProbeResult:
        """Write, read and remove one object of 68 bytes under a new random name.

        Storage believes the media type and does not look at the bytes. What the key itself cannot remove is removed
        with `cleaner_key`, where there is one.
        """
        name = f"doctor/{uuid4().hex}.png"
        path = f"object/{bucket}/{name}"
        headers = {"content-type": media_type, "x-upsert": "false"}
        written = _rights(await self._send("POST", path, key, content=PROBE, headers=headers))
        if written is not Rights.ALLOWED:
            return ProbeResult(written)
        try:
            answer = await self._send("GET", path, key)
            read = _rights(answer)
            if read is Rights.ALLOWED and answer.content != PROBE:
                read = Rights.MISSING
        finally:
            deleted = await self._remove(key, bucket, name)
            gone = deleted is Rights.ALLOWED or (
                bool(cleaner_key) and await self._remove(cleaner_key, bucket, name) is Rights.ALLOWED
            )
        return ProbeResult(written, read, deleted, "" if gone else f"{bucket}/{name}")

    async def _remove(self, key: str, bucket: str, name: str) -> Rights:
        response = await self._send(
            "DELETE",
            f"object/{bucket}",
            key,
            content=json.dumps({"prefixes": [name]}).encode(),
            headers={"content-type": "application/json"},
        )
        rights = _rights(response)
        # Row-level security hides the object instead of refusing: the list of what was removed is empty then.
        return Rights.REFUSED if rights is Rights.ALLOWED and not _body(response) else rights

    async def _send(
        self,
        method: str,
        path: str,
        key: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._http.request(
                    method, f"{self._root}/{path}", content=content, headers={**self._headers(key), **(headers or {})}
                )
        except (TimeoutError, httpx.TimeoutException):
            raise StorageInspectionError("Storage did not respond in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            tls = "certificate" in str(error).lower()
            reason = "its certificate is not trusted" if tls else type(error).__name__
            raise StorageInspectionError(f"Storage is not reachable ({reason})") from None


@asynccontextmanager
async def inspect_storage(url: str, api_key: str | None = None) -> AsyncIterator[StorageInspection]:
    """Connections for looking, closed at the end; nothing is sent yet. `api_key`: the publishable or anon key.

    Raises:
        StorageInspectionError: the URL cannot be used.
    """
    if not re.match(r"https?://[^/]", url):
        raise StorageInspectionError("it is not an http or https URL")
    timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    async with httpx.AsyncClient(timeout=timeout) as http:
        yield StorageInspection(http, url, api_key)


def _rights(response: httpx.Response) -> Rights:
    """Storage says nearly everything as HTTP 400 with the real status in the body; a gateway uses its own."""
    if response.is_success:
        return Rights.ALLOWED
    body = _body(response)
    cause = cause_of(response.text)
    if cause is not None:
        return Rights[cause.name]
    own = body if isinstance(body, Mapping) and "statusCode" in body else None
    status = str(own["statusCode"]) if own else str(response.status_code)
    if status == "401" or (status in ("400", "403") and "jwt" in str(own).lower()):
        return Rights.BAD_KEY
    named = {"413": Rights.OTHER_LIMITS, "415": Rights.OTHER_LIMITS, "404": Rights.MISSING}
    named |= {"400": Rights.REFUSED, "403": Rights.REFUSED}
    if status in named:
        return named[status]
    raise _busy(int(status) if status.isdecimal() else response.status_code)


def _busy(status: int) -> StorageInspectionError:
    return StorageInspectionError(f"Storage is unavailable (HTTP {status})")


def _body(response: httpx.Response) -> Any:
    return decoded_json(response.content)


def _bucket(entry: Mapping[str, Any]) -> Bucket:
    limit, types = entry.get("file_size_limit"), entry.get("allowed_mime_types")
    return Bucket(
        id=str(entry.get("id")),
        public=bool(entry.get("public")),
        file_size_limit=limit if isinstance(limit, int) else None,
        allowed_mime_types=tuple(map(str, types)) if isinstance(types, list) and types else None,
    )
