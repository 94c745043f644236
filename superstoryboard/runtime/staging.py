"""A worker's way to the staging bucket: opened with the staging key, and known to work before anything is paid."""

from __future__ import annotations

import asyncio

from superstoryboard.config.worker import WorkerSettings
from superstoryboard.storage.errors import StorageError
from superstoryboard.storage.keys import staging_warnings
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import Dependency

RETRY_MIN_SECONDS = 0.5
RETRY_MAX_SECONDS = 15.0
QUIET_SECONDS = 4.0
"""The asset_writer may be starting too, and make the bucket in a moment."""
NO_SUCH_KEY = "superstoryboard-asks-whether-it-may-read-here"

log = get_logger("staging")


async def open_staging(settings: WorkerSettings, seen: Dependency) -> ObjectStore:
    """Storage as the staging key sees it; says what is not as it should be with that key. Nothing is sent yet."""
    key = settings.supabase_staging_key.get_secret_value()
    for sentence in staging_warnings(key, settings.api_key()):
        log.warning(sentence)
    return await ObjectStore.connect(
        url=settings.supabase_url,
        key=key,
        api_key=settings.api_key(),
        timeout_seconds=settings.storage_timeout_seconds,
        seen=seen,
    )


async def staging_accepts(store: ObjectStore, bucket: str) -> None:
    """Return once Storage does not refuse the staging key and bucket: until then nothing may be paid for.

    A Storage that is away refuses nothing; a worker keeps what it made until it is back.
    """
    delay = RETRY_MIN_SECONDS
    while (refusal := await _refusal(store, bucket)) is not None:
        if delay >= QUIET_SECONDS:
            log.error("No job is taken: staging would refuse its result", reason=refusal, bucket=bucket)
        await asyncio.sleep(delay)
        delay = min(delay * 2, RETRY_MAX_SECONDS)


async def _refusal(store: ObjectStore, bucket: str) -> str | None:
    try:
        await store.stat(bucket, NO_SUCH_KEY)
    except StorageError as error:
        return str(error) if error.permanent else None
    return None
