"""The ledger of provider calls: written before a call is sent and when its outcome is known."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.statements import Statements
from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.domain.routes import RouteShape
from superstoryboard.jobs.queue import PATIENCE_SECONDS, ClaimedJob, Gate
from superstoryboard.telemetry.logs import get_logger

NAME_RETRY_MIN_SECONDS = 0.1
NAME_RETRY_MAX_SECONDS = 5.0

log = get_logger("ledger")


def call_hash(route: str, model: str, parameters: dict[str, Any], source_sha256: str) -> str:
    """Fingerprint of one call: route, model, frozen parameters and source bytes; SHA-256, lower-case hex."""
    text = json.dumps([route, model, parameters, source_sha256], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Sql(Statements):
    """Statements of ledger.sql."""

    open_call: LiteralString
    keep_name: LiteralString
    lose_call: LiteralString
    settle_call: LiteralString
    revive_job: LiteralString


class CallRefusal(StrEnum):
    """Why a job may make no more call."""

    SECOND_PAYMENT = "SECOND_PAYMENT"
    """An earlier call was paid, or perhaps for an operation, and nobody let it go."""
    CALL_LIMIT_REACHED = "CALL_LIMIT_REACHED"
    """The number of calls that were or may have been charged since the job was enqueued has reached max_attempts."""


@dataclass(frozen=True)
class OpenedCall:
    """The ledger row of a call that may be sent now, and where the answer holds the bytes their place in staging.

    Without a row: the gate is closed for `wait_seconds`; or `refused` says why there may be no more call; or with
    neither the claim is stale or its lease too short.
    """

    call_id: int | None
    wait_seconds: float
    staging_key: str = ""
    refused: CallRefusal | None = None


class Ledger:
    """Rows of provider_calls."""

    def __init__(self, database: Database, staging_bucket: str = "artifact-staging") -> None:
        self._database = database
        self._staging_bucket = staging_bucket

    async def open(
        self,
        job: ClaimedJob,
        *,
        route: str,
        shape: RouteShape,
        model: str,
        gate: Gate,
        fingerprint: str,
        lease_seconds: int,
    ) -> OpenedCall:
        """Pass the gate and record that a call is about to be sent."""
        row = await self._database.fetch_one(
            Sql.open_call,
            gate.values()
            | {
                "job": job.id,
                "claim": job.claim,
                "route": route,
                "shape": shape.value,
                "model": model,
                "hash": fingerprint,
                "lease": lease_seconds,
                "staging_bucket": self._staging_bucket,
            },
            patience_seconds=PATIENCE_SECONDS,
        )
        refused = CallRefusal(row["refused"]) if row["refused"] else None
        return OpenedCall(row["call_id"], row["wait_seconds"], row["staging_key"] or "", refused)

    async def accept(self, call_id: int, operation_name: str) -> bool:
        """Keep the name of an accepted operation, whatever became of the claim and whatever the database says.

        Tries for as long as the process lives. The name is in the log first: from there it can be entered by hand.
        False where the call does not have it in the end: the operation is another call's, or this call has ended.
        """
        log.info("Operation accepted", call_id=call_id, operation=operation_name)
        row = await self._insist(
            Sql.keep_name,
            {"id": call_id, "name": operation_name},
        )
        await self._revive(call_id)
        return bool(row["kept"])

    async def settle(self, call_id: int, failure: ProviderFailure) -> None:
        """Record how a call that gave no artifact ended: unpaid, paid, or unknown. Waits for the database."""
        values = {"id": call_id, "error": Jsonb(failure.to_json())}
        if failure.outcome is CallOutcome.UNKNOWN:
            await self._database.fetch(Sql.lose_call, values, patience_seconds=math.inf)
            return
        await self._settle(values | {"paid": failure.outcome is CallOutcome.PAID})

    async def settle_paid(self, call_id: int) -> None:
        """Record that a call was answered with good bytes, which are still on their way to staging.

        Raises:
            DatabaseUnavailableError: the database is away; nothing waits for it.
        """
        await self._settle({"id": call_id, "paid": True, "error": None}, patience_seconds=0)

    async def withdraw(self, call_id: int) -> None:
        """Settle an intent that was never sent, whatever became of the claim."""
        await self._settle({"id": call_id, "paid": False, "error": None})

    async def _settle(self, values: dict[str, Any], patience_seconds: float = math.inf) -> None:
        row = await self._database.fetch_one(
            Sql.settle_call,
            values,
            patience_seconds=patience_seconds,
        )
        if row["late"] and not values["paid"]:
            await self._revive(values["id"])

    async def _revive(self, call_id: int) -> None:
        """A job that was buried meanwhile goes on. Apart from the call's row: this waits for the locks of the job."""
        await self._insist(Sql.revive_job, {"id": call_id})

    async def _insist(self, statement: LiteralString, values: dict[str, Any]) -> dict[str, Any]:
        """The row of a statement that is repeated on every error of the database."""
        tries = 0
        while True:
            try:
                return await self._database.fetch_one(statement, values, patience_seconds=PATIENCE_SECONDS)
            except (DatabaseUnavailableError, psycopg.Error) as error:
                kind = type(error).__name__
                log.warning("The database cannot record a paid call; retrying", kind=kind, **values)
                tries += 1
                await asyncio.sleep(backoff_seconds(tries, NAME_RETRY_MIN_SECONDS, NAME_RETRY_MAX_SECONDS))
