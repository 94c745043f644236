"""Objects and buckets of Supabase Storage: supabase's Storage client (storage3) for calls, httpx for downloads.

Of the supabase package only its Storage client is loaded: the whole costs 13 MB more in each process.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import quote

import httpx
from storage3 import AsyncStorageClient
from storage3.types import CreateOrUpdateBucketOptions

from superstoryboard.storage.download import Downloaded, save_body
from superstoryboard.storage.errors import StorageError, StorageErrorKind, translated
from superstoryboard.storage.keys import key_headers
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import Dependency, DependencyMetrics

CONNECT_TIMEOUT_SECONDS = 10.0
CALL_TIMEOUT_SECONDS = 30.0
MAX_REMOVED_AT_ONCE = 1000
# What Storage allows, without the percent sign, which the client would decode.
_KEY = re.compile(r"[\w!\-.*'() &$@=;:+,?]+(?:/[\w!\-.*'() &$@=;:+,?]+)*", re.ASCII)

_log = get_logger("storage")


class BucketOutcome(StrEnum):
    CREATED = "created"
    EXISTS = "exists"


@dataclass(frozen=True)
class ObjectStat:
    """What Storage knows of an object without reading it."""

    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class BucketRules:
    """The rules that a bucket has. Size in bytes; None is no limit of its own, or every media type."""

    public: bool
    file_size_limit: int | None
    allowed_mime_types: tuple[str, ...] | None


def public_object_url(base_url: str, bucket: str, path: str) -> str:
    """The URL under which anyone reads an object of a public bucket."""
    return f"{base_url.rstrip('/')}/storage/v1/object/public/{bucket}/{quote(path)}"


class ObjectStore:
    """One Supabase Storage, reached with one key: the staging key in workers, the secret key in the asset_writer.

    Every method raises StorageError, and its kind says what to do. Nothing is retried here: an upload with
    `upsert`, a removal and `ensure_bucket` can be repeated without harm.
    """

    def __init__(
        self,
        client: AsyncStorageClient,
        http: httpx.AsyncClient,
        *,
        url: str,
        public_url: str,
        timeout_seconds: float,
        dependency: Dependency,
    ) -> None:
        self._client = client
        self._http = http
        self._url = url.rstrip("/")
        self._public_url = public_url
        self._timeout_seconds = timeout_seconds
        self._dependency = dependency

    @classmethod
    async def connect(
        cls,
        *,
        url: str,
        key: str,
        timeout_seconds: float,
        public_url: str | None = None,
        api_key: str | None = None,
        dependency: Dependency | None = None,
    ) -> Self:
        """Set up the client; nothing is sent yet, so Storage need not be there.

        Args:
            url: `SUPABASE_URL`.
            key: the API key, secret or restricted to staging.
            timeout_seconds: limit of one whole upload or download; other calls take at most 30 seconds.
            public_url: `SUPABASE_PUBLIC_URL`, where `public_url()` differs from `url`.
            api_key: `SUPABASE_ANON_KEY`, which goes with a key that is a JWT of an own role.
            dependency: its metrics show whether Storage is available.

        Raises:
            StorageError: CONFIG, the URL or key cannot be used.
        """
        if not re.match(r"https?://[^/]", url) or not key.strip():
            raise StorageError(StorageErrorKind.CONFIG, "the Supabase URL or key cannot be used")
        # The timeout here is that of each step: a body may flow as long as the whole call is in time.
        timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds))
        headers = key_headers(key, api_key)
        http = httpx.AsyncClient(timeout=timeout, headers=headers)
        client = AsyncStorageClient(f"{url.rstrip('/')}/storage/v1/", headers, http_client=http)
        return cls(
            client,
            http,
            url=url,
            public_url=public_url or url,
            timeout_seconds=timeout_seconds,
            dependency=dependency or DependencyMetrics().of("storage"),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def upload(
        self,
        bucket: str,
        key: str,
        source: Path | bytes,
        media_type: str,
        *,
        upsert: bool = True,
        cache_control: str = "3600",
    ) -> None:
        """Store an object; `cache_control` is the age in seconds that caches may keep it.

        A file is streamed, 64 KiB at a time, and never held whole.

        Raises:
            StorageError: EXISTS only without `upsert`.
            OSError: the source cannot be read.
        """
        _check_key(key)
        file = await asyncio.to_thread(source.open, "rb") if isinstance(source, Path) else source
        try:
            async with self._call(self._timeout_seconds):
                await self._client.from_(bucket).upload(
                    key,
                    file,
                    {
                        "content-type": media_type,
                        "cache-control": cache_control,
                        "upsert": "true" if upsert else "false",
                    },
                )
        finally:
            if not isinstance(file, bytes):
                await asyncio.to_thread(file.close)

    async def download_to(self, bucket: str, key: str, destination: Path, max_bytes: int) -> Downloaded:
        """Stream an object to a file; on failure no file stays behind.

        Raises:
            StorageError: MISSING, TOO_LARGE above `max_bytes`, and the others.
            OSError: the destination cannot be written.
        """
        _check_key(key)
        url = f"{self._url}/storage/v1/object/{quote(bucket)}/{quote(key)}"
        # Compressed bytes would make the announced size meaningless.
        headers = {"Accept-Encoding": "identity"}
        async with (
            self._call(self._timeout_seconds),
            self._http.stream("GET", url, headers=headers) as response,
        ):
            return await save_body(response, destination, max_bytes)

    async def stat(self, bucket: str, key: str) -> ObjectStat | None:
        """Size and media type of an object; None where it is missing."""
        _check_key(key)
        try:
            async with self._call(self._call_timeout):
                info = await self._client.from_(bucket).info(key)
                return ObjectStat(int(info["size"]), str(info["content_type"]))
        except StorageError as error:
            if error.kind is StorageErrorKind.MISSING:
                return None
            raise

    async def remove(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects; missing ones are not an error."""
        for start in range(0, len(keys), MAX_REMOVED_AT_ONCE):
            async with self._call(self._call_timeout):
                some = list(keys[start : start + MAX_REMOVED_AT_ONCE])
                await self._client.from_(bucket).remove(some)

    async def ensure_bucket(
        self,
        bucket: str,
        *,
        public: bool,
        file_size_limit: int | None = None,
        allowed_mime_types: Sequence[str] | None = None,
    ) -> BucketOutcome:
        """Create a bucket where it is missing; one that exists keeps its rules, whatever they are.

        A server whose global limit is below `file_size_limit` refuses such a bucket. It is then made without
        a limit of its own, so that the server's limit holds, and a warning is logged.
        """
        options = CreateOrUpdateBucketOptions(public=public)
        if allowed_mime_types is not None:
            options["allowed_mime_types"] = list(allowed_mime_types)
        if file_size_limit is None:
            return await self._create_bucket(bucket, options)
        try:
            return await self._create_bucket(bucket, {**options, "file_size_limit": file_size_limit})
        except StorageError as error:
            if error.kind is not StorageErrorKind.TOO_LARGE:
                raise
        outcome = await self._create_bucket(bucket, options)
        if outcome is BucketOutcome.CREATED:
            _log.warning(
                "the server's global size limit is lower: the bucket has no limit of its own",
                action="bucket_without_limit",
                bucket=bucket,
                wanted_bytes=file_size_limit,
            )
        return outcome

    async def _create_bucket(self, bucket: str, options: CreateOrUpdateBucketOptions) -> BucketOutcome:
        try:
            async with self._call(self._call_timeout):
                await self._client.create_bucket(bucket, options=options)
        except StorageError as error:
            if error.kind is StorageErrorKind.EXISTS:
                return BucketOutcome.EXISTS
            raise
        return BucketOutcome.CREATED

    async def bucket_rules(self, bucket: str) -> BucketRules:
        """The rules of a bucket; needs the secret key."""
        async with self._call(self._call_timeout):
            bucket_row = await self._client.get_bucket(bucket)
        types = bucket_row.allowed_mime_types
        return BucketRules(bucket_row.public, bucket_row.file_size_limit, tuple(types) if types else None)

    def public_url(self, bucket: str, path: str) -> str:
        """The URL of an object in a public bucket."""
        return public_object_url(self._public_url, bucket, path)

    async def signed_url(self, bucket: str, path: str, seconds: int) -> str:
        """A URL under which anyone who has it reads an object for so many seconds, also of a private bucket."""
        _check_key(path)
        async with self._call(self._call_timeout):
            signed = str((await self._client.from_(bucket).create_signed_url(path, seconds))["signedURL"])
            tail = signed[signed.index("/object/sign/") :]
        return f"{self._public_url.rstrip('/')}/storage/v1{tail}"

    @property
    def _call_timeout(self) -> float:
        return min(CALL_TIMEOUT_SECONDS, self._timeout_seconds)

    @asynccontextmanager
    async def _call(self, timeout_seconds: float) -> AsyncIterator[None]:
        """One call, translated; any answer of Storage's own shows that it is there."""
        begun = time.monotonic()
        try:
            async with translated(timeout_seconds):
                yield
        except StorageError as error:
            if error.permanent:
                self._dependency.back(begun)
            else:
                self._dependency.away()
            raise
        self._dependency.back(begun)


def _check_key(key: str) -> None:
    parts = key.split("/")
    if not _KEY.fullmatch(key) or "." in parts or ".." in parts:
        raise StorageError(StorageErrorKind.CONFIG, "Storage does not accept this object key")
