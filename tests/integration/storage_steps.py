"""Steps of the tests about the Storage adapter."""

import traceback
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import pytest

from superstoryboard.storage.errors import StorageError, StorageErrorKind
from tests.emulators.storage_fixture import (
    SECRET_KEY,
    STAGING_KEY,
)

PNG = b"\x89PNG not really"

MAX_BYTES = 64_000_000

GLOBAL_LIMIT = 52_428_800


async def script(control: httpx.AsyncClient, **entry: Any) -> None:
    assert (await control.post("/script", json=entry)).status_code == 200


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def kind_of(call: Awaitable[object]) -> StorageErrorKind:
    """The kind of the failure; nothing foreign or secret may be in its text."""
    with pytest.raises(StorageError) as caught:
        await call
    error = caught.value
    shown = "".join(traceback.format_exception(error)[-1:]) + error.message + str(error.__cause__)
    assert error.__suppress_context__ or error.__context__ is None
    for secret in (SECRET_KEY, STAGING_KEY, "127.0.0.1", "http:", "<html"):
        assert secret not in shown
    return error.kind
