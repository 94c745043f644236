"""The ledger of provider calls: written before a call is sent and when its outcome is known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from superstoryboard.jobs.database import Database
from superstoryboard.jobs.errors import CallOutcome, ProviderFailure
from superstoryboard.jobs.work import PATIENCE_SECONDS, ClaimedJob, Gate

NAME_PATIENCE_SECONDS = 600.0
"""A paid operation name is worth a long wait for the database."""


def call_hash(route: str, model: str, parameters: dict[str, Any], source_sha256: str) -> str:
    """Fingerprint of one call: route, model, frozen parameters and source bytes; SHA-256, lower-case hex."""
    text = json.dumps([route, model, parameters, source_sha256], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class OpenedCall:
    """The ledger row of a call that may be sent now.

    Without one: the gate is closed for `wait_seconds`, or with 0 the call must not be sent: stale claim, short lease,
    or an earlier call of a video that was perhaps paid.
    """

    call_id: int | None
    wait_seconds: float


class Ledger:
    """Rows of provider_calls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(
        self, job: ClaimedJob, *, route: str, model: str, gate: Gate, fingerprint: str, lease_seconds: int
    ) -> OpenedCall:
        """Pass the gate and record that a call is about to be sent."""
        row = await self._database.fetch_one(
            "select * from superstoryboard.open_call_v1("
            "%(job)s, %(claim)s, %(route)s, %(provider)s, %(model)s, %(hash)s, %(lease)s::int,"
            " row(%(per_minute)s, %(per_day)s, %(running)s)::superstoryboard.gate_limits)",
            gate.values()
            | {
                "job": job.id,
                "claim": job.claim,
                "route": route,
                "model": model,
                "hash": fingerprint,
                "lease": lease_seconds,
            },
            patience_seconds=PATIENCE_SECONDS,
        )
        return OpenedCall(row["call_id"], row["wait_seconds"])

    async def accept(self, call_id: int, operation_name: str) -> None:
        """Keep the name of an accepted operation, whatever became of the claim."""
        await self._database.fetch(
            "select superstoryboard.accept_call_v1(%(id)s::bigint, %(name)s)",
            {"id": call_id, "name": operation_name},
            patience_seconds=NAME_PATIENCE_SECONDS,
        )

    async def settle(self, call_id: int, failure: ProviderFailure) -> None:
        """Record how a call that gave no artifact ended: unpaid, paid, or unknown."""
        values = {"id": call_id, "error": Jsonb(failure.to_json())}
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
        """Settle an intent that was never sent, whatever became of the claim."""
        await self._database.fetch(
            "select superstoryboard.withdraw_call_v1(%(id)s::bigint)",
            {"id": call_id},
            patience_seconds=PATIENCE_SECONDS,
        )
