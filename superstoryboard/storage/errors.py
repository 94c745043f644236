"""What went wrong with a call to Storage, and whether it can get better by itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import httpx
from storage3.exceptions import StorageApiError

from superstoryboard.storage.causes import cause_of

UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What the client raises over an answer of another shape than Storage's, or nested too deep: something else replied."""

_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)
_WORD = re.compile(r"[\w \-]{1,60}", re.ASCII)
_PASSING_STATUSES = (408, 423, 425, 429)


class StorageErrorKind(StrEnum):
    """Sort of a failure. Permanent: the same call fails again until a person changes something."""

    MISSING = "MISSING"
    """The object does not exist. Permanent for this key."""
    EXISTS = "EXISTS"
    """The key or bucket already exists, and the call may not replace it. Permanent for this key."""
    TOO_LARGE = "TOO_LARGE"
    """Larger than the bucket, the server or the caller allows. Permanent."""
    WRONG_MEDIA_TYPE = "WRONG_MEDIA_TYPE"
    """The bucket does not accept this media type. Permanent."""
    CONFIG = "CONFIG"
    """Invalid key, missing bucket, rejected by a policy, or invalid name. Permanent until the configuration changes."""
    UNAVAILABLE = "UNAVAILABLE"
    """Storage is unavailable, busy, locked or too slow. Temporary: try again later."""


class StorageError(Exception):
    """A call to Storage failed; `kind` says how. The message holds no key, no address and no foreign text."""

    def __init__(self, kind: StorageErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    @property
    def permanent(self) -> bool:
        """True for every kind but UNAVAILABLE."""
        return self.kind is not StorageErrorKind.UNAVAILABLE


_SENTENCES = {
    StorageErrorKind.MISSING: "the object does not exist in Storage",
    StorageErrorKind.EXISTS: "the name already exists in Storage",
    StorageErrorKind.TOO_LARGE: "the object is larger than Storage allows: raise the bucket's file size limit, and the"
    " project's global one where that is lower",
    StorageErrorKind.WRONG_MEDIA_TYPE: "the bucket does not accept this media type: add it to its allowed types",
    StorageErrorKind.CONFIG: "Storage rejected the call",
    StorageErrorKind.UNAVAILABLE: "Storage is unavailable",
}
_NO_BUCKET = (
    "The bucket does not exist, or not for this key: create it, or restart the asset_writer, which creates its buckets."
    " If the bucket exists, the key is signed for another project"
)
_BAD_KEY = (
    "Storage rejected the key: check that it is complete, not revoked, and belongs to the project of SUPABASE_URL"
)
_NO_RIGHT = (
    "The key has no permission for this: the asset_writer needs a secret key; workers need a key that may use the"
    " staging bucket and has not expired"
)


@asynccontextmanager
async def translated(timeout_seconds: float) -> AsyncIterator[None]:
    """Limit a call's time and turn what the libraries raise into StorageError.

    The cause is cut off: its text may name the address or quote a gateway's page.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            yield
    except (StorageApiError, httpx.HTTPError, TimeoutError, *UNREADABLE) as error:
        raise storage_error(error) from None


def storage_error(error: Exception) -> StorageError:
    """The one mapping from what the client libraries raise to our error.

    Any other error means an answer that could not be read: something other than Storage replied.
    """
    if isinstance(error, StorageApiError):
        # Annotated as texts, yet taken from the answer as they are.
        return refusal(error.status, str(error.code), str(error.message))
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return StorageError(StorageErrorKind.UNAVAILABLE, "Storage did not respond in time")
    if isinstance(error, httpx.HTTPError):
        return StorageError(StorageErrorKind.UNAVAILABLE, f"Storage is not reachable ({type(error).__name__})")
    return StorageError(StorageErrorKind.UNAVAILABLE, "Storage returned an unreadable response")


def refusal(status: int | str, code: str, message: str = "") -> StorageError:
    """The error for a status and code: a text status is Storage's own, a number that of a gateway before it.

    `message` is read for what is wrong with the key, and goes nowhere.
    """
    known = _STATUS.fullmatch(str(status))
    number = int(status) if known else 500
    kind = _kind_of(number, code, own=isinstance(status, str))
    shown = str(status) if known else "no status"
    detail = f"{shown} {code}" if _WORD.fullmatch(code) else shown
    cause = cause_of(message)
    if cause is not None:
        # Also where the status is 500: a role that does not exist stays away.
        return StorageError(StorageErrorKind.CONFIG, f"Storage rejected the call because {cause} ({detail})")
    return StorageError(kind, f"{_sentence(kind, number, code)} ({detail})")


def _sentence(kind: StorageErrorKind, status: int, code: str) -> str:
    """What is wrong and, where a person can mend it, how."""
    if kind is not StorageErrorKind.CONFIG:
        return _SENTENCES[kind]
    if "bucket" in code.lower():
        return _NO_BUCKET
    return {401: _BAD_KEY, 403: _NO_RIGHT}.get(status, _SENTENCES[kind])


def _kind_of(status: int, code: str, *, own: bool) -> StorageErrorKind:
    if status >= 500 or status in _PASSING_STATUSES:
        return StorageErrorKind.UNAVAILABLE
    if status == 404 and own and "bucket" not in code.lower():
        return StorageErrorKind.MISSING
    if status == 409 and code == "Duplicate":
        return StorageErrorKind.EXISTS
    by_status = {413: StorageErrorKind.TOO_LARGE, 415: StorageErrorKind.WRONG_MEDIA_TYPE}
    return by_status.get(status, StorageErrorKind.CONFIG)
