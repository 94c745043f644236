"""Removes objects of no more use from Storage, a batch at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from superstoryboard.db.database import DatabaseUnavailableError
from superstoryboard.jobs.cleanups import Cleanup, Cleanups
from superstoryboard.storage.errors import StorageError
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.work_metrics import WriterMetrics

BATCH = 500
IDLE_SECONDS = 60.0

log = get_logger("clean")


class Cleaner:
    """Removes the objects of artifacts that ended longer ago than any upload of theirs can last."""

    def __init__(
        self, cleanups: Cleanups, store: ObjectStore, older_than_seconds: float, metrics: WriterMetrics
    ) -> None:
        self._cleanups = cleanups
        self._store = store
        self._older_than_seconds = older_than_seconds
        self._metrics = metrics

    async def run(self) -> None:
        """Clean until cancelled; what fails is tried again later."""
        while True:
            try:
                cleaned = await self.clean()
            except (DatabaseUnavailableError, StorageError) as error:
                log.warning("Cleanup is postponed", kind=type(error).__name__)
                cleaned = 0
            if cleaned < BATCH:
                await asyncio.sleep(IDLE_SECONDS)

    async def clean(self) -> int:
        """Remove one batch and answer how many artifacts it had.

        Raises:
            DatabaseUnavailableError, StorageError: the rest of the batch is leased again in five minutes.
        """
        batch = await self._cleanups.claim(older_than_seconds=self._older_than_seconds, limit=BATCH)
        for bucket, keys in _by_bucket(batch).items():
            await self._store.remove(bucket, keys)
        if batch:
            await self._cleanups.end(batch)
            self._metrics.cleaned(len(batch))
            log.info("Removed unused objects", artifacts=len(batch))
        return len(batch)


def _by_bucket(batch: list[Cleanup]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = defaultdict(list)
    for cleanup in batch:
        for bucket, key in cleanup.objects():
            keys[bucket].append(key)
    return dict(keys)
