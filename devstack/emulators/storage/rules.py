"""Rules for names, sizes and media types that Storage checks."""

import re
from typing import Any

from .errors import WireError

_BUCKET_NAME = re.compile(r"[\w!\-.*'() &$@=;:+,?]{1,100}", re.ASCII)
_OBJECT_KEY = re.compile(r"[\w/!\-.*'() &$@=;:+,?]{1,1024}", re.ASCII)
_SIZE = re.compile(r"(\d+)\s*(B|KB|MB|GB)?", re.IGNORECASE)
_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


def normalised_key(path: str) -> str:
    """Object key from a URL path: leading and doubled slashes collapse.

    Raises:
        WireError: InvalidKey.
    """
    key = "/".join(part for part in path.split("/") if part)
    if not _OBJECT_KEY.fullmatch(key):
        raise WireError.invalid_key(key)
    return key


def check_bucket_name(name: str) -> None:
    if not _BUCKET_NAME.fullmatch(name) or name != name.strip():
        raise WireError.invalid_bucket_name()


def size_in_bytes(value: Any) -> int | None:
    """A bucket's `file_size_limit`: a number of bytes, or text such as `100MB` (100000000)."""
    if value is None:
        return None
    match = _SIZE.fullmatch(str(value).strip())
    if not match:
        raise WireError.invalid_request("body/file_size_limit must be a size")
    return int(match[1]) * _UNITS[(match[2] or "").upper()]


def check_media_type(media_type: str, allowed: list[str] | None) -> None:
    """Refuse a media type that the bucket does not list; `image/*` and `*/*` are understood."""
    if not allowed:
        return
    essence = media_type.partition(";")[0].strip().lower()
    family = essence.partition("/")[0] + "/*"
    if not {essence, family, "*/*"} & {entry.lower() for entry in allowed}:
        raise WireError.wrong_type(media_type)


def check_size(size_bytes: int, *limits: int | None) -> None:
    if any(limit is not None and size_bytes > limit for limit in limits):
        raise WireError.too_large()
