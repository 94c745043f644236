"""URLs of this installation's own Storage, and the storyboard that a private object there belongs to."""

from __future__ import annotations

from collections.abc import Iterable

import httpx

from superstoryboard.domain.media import BUCKETS

_STORAGE_PATH = "/storage/v1/"
_PUBLIC = (("object", "public"), ("render", "image", "public"))


def is_within(url: httpx.URL, storage: httpx.URL) -> bool:
    """True for objects of that Storage, not for other services behind the same gateway."""
    same_origin = (url.scheme, url.raw_host, _port(url)) == (storage.scheme, storage.raw_host, _port(storage))
    dots = {".", ".."} & set(url.path.split("/"))
    return same_origin and not dots and url.path.startswith(storage.path.rstrip("/") + _STORAGE_PATH)


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def private_storyboard(text: str, storages: Iterable[str], staging_bucket: str) -> str | None:
    """The storyboard of a picture in a bucket of ours, where the URL is one for private buckets; else None.

    Assets lie below their storyboard's id. Empty where the URL names a bucket for assets and no storyboard, and of
    the staging bucket, whose objects are nobody's yet. Of a public address Storage itself sees to it that the bucket
    is public.
    """
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return None
    for storage in map(httpx.URL, storages):
        if is_within(url, storage):
            path = url.path.removeprefix(storage.path.rstrip("/")).removeprefix(_STORAGE_PATH)
            return _storyboard(path, staging_bucket)
    return None


def _storyboard(path: str, staging_bucket: str) -> str | None:
    parts = [part for part in path.split("/") if part]
    if any(tuple(parts[: len(form)]) == form for form in _PUBLIC):
        return None
    ours = {*BUCKETS.values(), staging_bucket}
    bucket = next((place for place, part in enumerate(parts) if part in ours), None)
    if bucket is None:
        return None
    return "" if parts[bucket] == staging_bucket else "".join(parts[bucket + 1 : bucket + 2])
