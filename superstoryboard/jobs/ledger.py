"""The ledger of provider calls: written before a call is sent and when its outcome is known."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from psycopg.types.json import Jsonb

from superstoryboard.jobs.database import Database
from superstoryboard.jobs.errors import CallOutcome, ProviderFailure
from superstoryboard.jobs.work import PATIENCE_SECONDS, ClaimedJob

NAME_PATIENCE_SECONDS = 600.0
"""A paid operation name is worth a long wait for the database."""


def call_hash(route: str, model: str, parameters: dict[str, Any], source_sha256: str) -> str:
    """Fingerprint of one call: route, model, frozen parameters and source bytes; SHA-256, lower-case hex."""
    text = json.dumps([route, model, parameters, source_sha256], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Ledger:
    """Rows of provider_calls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def intend(
        self, job: ClaimedJob, *, route: str, model: str, fingerprint: str, lease_seconds: int
    ) -> int | None:
        """Record that a call is about to be sent.

        None where it must not be: stale claim, short lease, or an earlier call of a video that was perhaps paid.
        """
        row = await self._database.fetch_one(
            "select superstoryboard.intend_call_v1("
            "%(job)s, %(claim)s, %(route)s, %(model)s, %(hash)s, %(lease)s::int) as id",
            {
                "job": job.id,
                "claim": job.claim,
                "route": route,
                "model": model,
                "hash": fingerprint,
                "lease": lease_seconds,
            },
            patience_seconds=PATIENCE_SECONDS,
        )
        return row["id"]  # type: ignore[no-any-return]  # bigint or null

    async def accept(self, call_id: int, operation_name: str) -> None:
        """Keep the name of an accepted operation, whatever became of the claim."""
        await self._database.fetch(
            "select superstoryboard.accept_call_v1(%(id)s::bigint, %(name)s)",
            {"id": call_id, "name": operation_name},
            patience_seconds=NAME_PATIENCE_SECONDS,
        )

    async def settle(self, call_id: int, failure: ProviderFailure) -> None:
        """Record how a call that gave no artifact ended: unpaid, paid, or unknown."""
        values = {"id": call_id, "error": Jsonb(failure.error.to_json())}
        if failure.outcome is CallOutcome.UNKNOWN:
            await self._database.fetch(
                "select superstoryboard.lose_call_v1(%(id)s::bigint, %(error)s)",
                values,
                patience_seconds=PATIENCE_SECONDS,
            )
            return
        await self._database.fetch(
            "select superstoryboard.settle_call_v1(%(id)s::bigint, %(paid)s, %(error)s)",
            values | {"paid": failure.outcome is CallOutcome.PAID},
            patience_seconds=PATIENCE_SECONDS,
        )

    async def withdraw(self, call_id: int) -> None:
        """Settle an intent that was never sent."""
        await self._database.fetch(
            "select superstoryboard.settle_call_v1(%(id)s::bigint, false, null)",
            {"id": call_id},
            patience_seconds=PATIENCE_SECONDS,
        )
