"""A finish that meets a locked row gives way: the writer's slot goes on to the next artifact."""

from __future__ import annotations

import math

import psycopg
import pytest

from services.asset_writer.endings import Endings, Patience
from services.asset_writer.write import ArtifactWriter, Destination
from superstoryboard.db.database import Database
from superstoryboard.db.errors import RowsLockedError
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.work_metrics import WriterMetrics
from tests.integration.helpers import ENDING, KV, accept, claim_one, image_queue, row, stage


@pytest.mark.timeout(60)
async def test_a_finish_waits_a_bounded_time_whatever_the_patience(
    database: Database, sql: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superstoryboard.jobs.artifacts.PATIENCE_SECONDS", math.inf)
    sql.execute(f"insert into {KV} values ('scene:board:scene-1', '{{\"id\": \"scene-1\"}}')")
    job_id = await accept(database)
    artifact_id = await stage(database, await claim_one(image_queue(database)))
    artifacts = Artifacts(database)
    (claimed,) = await artifacts.claim(artifact_id=artifact_id, quantity=1, lease_seconds=60, min_age_seconds=0)
    store = await ObjectStore.connect(url="http://127.0.0.1:1", key="a-key-that-is-never-sent", timeout_seconds=1)
    writer = ArtifactWriter(
        artifacts,
        store,
        Destination("http://127.0.0.1:1", ENDING),
        Endings(artifacts, ENDING, Patience()),
        lease_seconds=60,
        metrics=WriterMetrics(),
    )
    async with await psycopg.AsyncConnection.connect(database_url) as outside:
        await outside.execute(f"select from {KV} for update")
        with pytest.raises(RowsLockedError):
            await writer._finish(claimed)
        assert (await row(database, job_id))["state"] == "STAGED"
        await outside.rollback()
    await store.aclose()
