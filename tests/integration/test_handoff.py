"""Paid bytes in a worker's hands while what surrounds them does not work."""

from __future__ import annotations

import psycopg
from prometheus_client import CollectorRegistry

from superstoryboard.db.database import Database
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.work_metrics import HintMetrics
from superstoryboard.worker.attempt.handoff import HandOff
from superstoryboard.worker.attempt.intent import Intent
from superstoryboard.worker.attempt.staging import Staging
from tests.conformance.http_stub import Answer, serve
from tests.integration.helpers import FACTS, accept, claim_one, image_queue, open_call, row

REFUSES = """
create or replace function superstoryboard.settle_call_v1(p_call bigint, p_paid boolean, p_error jsonb) returns boolean
language plpgsql as $$ begin raise exception 'this installation was changed by hand'; end $$
"""


async def test_paid_bytes_are_kept_where_storage_and_then_the_database_refuse(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accept(database)
    job = await claim_one(image_queue(database))
    opened = await open_call(database, job)
    assert opened.call_id is not None
    sql.execute(REFUSES)
    async with serve() as storage:
        store = await ObjectStore.connect(url=storage.url, key="staging-key", timeout_seconds=60)
        staging = Staging(store, "artifact-staging", 60)
        ledger = Ledger(database)
        hand_off = HandOff(Artifacts(database), ledger, staging, None, HintMetrics(CollectorRegistry()))
        path = f"/storage/v1/object/artifact-staging/{opened.staging_key}"
        storage.queued[path] = [Answer(503)]
        storage.answers[path] = Answer(body=b'{"Id": "1", "Key": "artifact-staging/1"}')
        intent = Intent(opened.call_id, opened.staging_key)
        assert await hand_off.hand_over_answer(job, intent, b"paid", FACTS) == "STAGED"
        await store.aclose()
    assert (await row(database, job_id))["state"] == "STAGED"
