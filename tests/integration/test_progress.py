"""What watchers see of a job's progress: it rises, by the model's usual time, whoever works on the job."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from uuid import UUID

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from services.video_worker.polling import MADE_PERCENT, REPORT_STEP_PERCENT, STARTED_PERCENT, Poller, Times
from superstoryboard.db.database import Database
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import Operation
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.telemetry.work_metrics import CallMetrics
from tests.conformance.http_stub import Answer, serve
from tests.conformance.video_routes import KEY, ROUTES, encoded
from tests.integration.helpers import VIDEO_QUEUE, accept, claim_one, expire_lease, row, video_queue

ROUTE = ROUTES[0]


async def percents(sql: psycopg.Connection, job_id: UUID) -> list[int]:
    query = "select progress_percent from superstoryboard.job_events where job_id = %s order by sequence"
    return [percent for (percent,) in sql.execute(query, [job_id])]


async def test_another_worker_does_not_take_progress_back(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database, kind="video")
    first = video_queue(database)
    assert await first.report(await claim_one(first), 40, "Generating video") == 40
    await expire_lease(database, VIDEO_QUEUE)
    second = video_queue(database, "worker-2")
    again = await claim_one(second)
    assert (await row(database, job_id))["progress_percent"] == 40
    assert await second.report(again, 15, "Generating video") == 40
    assert await second.report(again, 45, "Generating video") == 45
    assert await percents(sql, job_id) == [0, 5, 40, 40, 40, 45]


async def test_the_database_refuses_progress_that_falls_or_is_complete_too_soon(
    database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accept(database, kind="video")
    work = video_queue(database)
    await work.report(await claim_one(work), 40, "Generating video")
    for percent in (39, 100):
        with pytest.raises(psycopg.errors.CheckViolation):
            sql.execute("update superstoryboard.jobs set progress_percent = %s where id = %s", [percent, job_id])
        sql.rollback()
    assert (await row(database, job_id))["progress_percent"] == 40


async def told_while_polling(
    database: Database, sql: psycopg.Connection, polls: int, *, age_seconds: float, usual_seconds: int
) -> list[int]:
    """The percentages of all events of a video whose operation runs for so many polls, 0.01 s apart, then is done."""
    job_id = await accept(database, kind="video")
    work = video_queue(database)
    job = await claim_one(work)
    times = Times(poll_seconds=0.01, timeout_seconds=1e6, max_bytes=1000, gone_seconds=1)
    metrics = CallMetrics([ROUTE.model], CollectorRegistry())
    usual = {ROUTE.model: usual_seconds}
    poller = Poller(work, Ledger(database), metrics, times, asyncio.Event(), usual_seconds=usual.__getitem__)
    async with serve() as stub:
        stub.queued[ROUTE.poll_path] = [Answer(body=encoded(ROUTE.running))] * polls
        ROUTE.holds(stub, b"film")
        provider = VeoGemini(api_key=KEY, base_url=stub.url)
        await poller.done(job, Operation(1, ROUTE.name, ROUTE.model, ROUTE.operation, age_seconds), provider)
        await provider.aclose()
    return await percents(sql, job_id)


@pytest.mark.parametrize(("age_seconds", "percent"), [(0.0, STARTED_PERCENT), (1000.0, MADE_PERCENT)])
async def test_progress_is_the_share_of_the_usual_time_of_the_model(
    database: Database, sql: psycopg.Connection, age_seconds: float, percent: int
) -> None:
    """1,000 of a million seconds, which is the limit of the attempt, would be none."""
    usual = Catalogue.load().get(ROUTE.model).usual_seconds or 1
    told = await told_while_polling(database, sql, 3, age_seconds=age_seconds, usual_seconds=usual)
    assert told == [0, 5, percent]


async def test_progress_is_told_in_steps_of_five_and_not_at_each_poll(
    database: Database, sql: psycopg.Connection
) -> None:
    """In a hundred polls the operation goes past its usual second; each brings it on by one percent or less."""
    told = await told_while_polling(database, sql, 150, age_seconds=0.0, usual_seconds=1)
    assert told[:3] == [0, 5, STARTED_PERCENT]
    steps = [later - earlier for earlier, later in pairwise(told[2:])]
    assert steps, "it was told again"
    assert min(steps) >= REPORT_STEP_PERCENT
    assert told[-1] > MADE_PERCENT - REPORT_STEP_PERCENT
