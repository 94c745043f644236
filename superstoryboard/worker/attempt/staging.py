"""A worker's way to the staging bucket, proven to work before anything is paid."""

from __future__ import annotations

import asyncio
import itertools
import uuid

from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.storage.errors import StorageError
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.logs import get_logger

RETRY_MIN_SECONDS = 0.5
RETRY_MAX_SECONDS = 15.0
QUIET_TRIES = 3
"""The asset_writer may be starting too, and make the bucket in a moment."""
OCTETS = "application/octet-stream"
"""The media type of everything in staging."""
PROOF = b"A worker proves that it can stage artifacts here."
PROOF_FOLDER = "proofs"

log = get_logger("staging")


class Staging:
    """The staging bucket, and whether it is proven to take and show what is uploaded. At first it is not.

    `patience_seconds`: how long Storage must keep saying that bytes are not in staging, or that it refuses one
    object for good, before that is believed.
    """

    def __init__(self, store: ObjectStore, bucket: str, patience_seconds: float) -> None:
        self.store = store
        self.bucket = bucket
        self.patience_seconds = patience_seconds
        self._proof_key = f"{PROOF_FOLDER}/{uuid.uuid4().hex}"
        self._proven = asyncio.Event()
        self._doubted = asyncio.Event()
        self._doubted.set()

    async def wait_proven(self) -> None:
        """Return once staging works: until then nothing may be paid for."""
        await self._proven.wait()

    def doubt(self) -> None:
        """An upload was refused: staging has to be proven again."""
        self._proven.clear()
        self._doubted.set()

    async def stay_proven(self) -> None:
        """Prove staging at first and after every doubt, until cancelled."""
        while True:
            await self._doubted.wait()
            await self._prove()

    async def _prove(self) -> None:
        for tries in itertools.count(1):
            self._doubted.clear()
            problem = await self.problem()
            if problem is None and not self._doubted.is_set():
                self._proven.set()
                return
            if tries > QUIET_TRIES:
                log.error("No jobs are claimed: staging cannot be used", reason=problem, bucket=self.bucket)
            await asyncio.sleep(backoff_seconds(tries, RETRY_MIN_SECONDS, RETRY_MAX_SECONDS))

    async def problem(self) -> str | None:
        """Upload a few bytes under a name of this process's own and look for them; None where that works.

        To ask for a missing object proves nothing: Storage says 404 too where row-level security hides everything.
        """
        try:
            await self.store.upload(self.bucket, self._proof_key, PROOF, OCTETS)
            proof = await self.store.stat(self.bucket, self._proof_key)
        except StorageError as error:
            return str(error)
        if proof is None:
            return "This key cannot read its own uploads: allow its role to select from the staging bucket"
        try:
            await self.store.remove(self.bucket, [self._proof_key])
        except StorageError as error:
            log.warning("The test object could not be removed from staging", kind=error.kind.value)
        return None
