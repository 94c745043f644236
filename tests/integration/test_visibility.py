"""Whoever looks at a queue sees its messages come and go as their jobs do: the visibility is copied from the turns."""

from __future__ import annotations

from uuid import UUID

import psycopg

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from tests.integration.helpers import IMAGE_QUEUE, accept, claim_one, expire_lease, image_queue, stage

AWAY = JobError(ErrorClass.UNAVAILABLE_DEPENDENCY, "STAGING_UNAVAILABLE", "away")
HOURS = (
    "select round(extract(epoch from q.vt - clock_timestamp()) / 3600) from pgmq.q_image_generation_queue q"
    " join superstoryboard.jobs j on j.msg_id = q.msg_id where j.id = %s"
)


def hidden_hours(sql: psycopg.Connection, job_id: UUID) -> int:
    """For how long readers of the queue do not see the message of a job."""
    record = sql.execute(HOURS, (job_id,)).fetchone()
    assert record is not None
    return int(record[0])


def show(sql: psycopg.Connection) -> None:
    """Let every reader of the queue see all messages, as operators do."""
    sql.execute("select pgmq.set_vt(%s, msg_id, 0) from pgmq.q_image_generation_queue", (IMAGE_QUEUE,))


async def test_a_message_is_visible_when_its_job_is_due(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database, delay_seconds=3 * 3600)
    work = image_queue(database)
    assert hidden_hours(sql, job_id) == 3
    await expire_lease(database, IMAGE_QUEUE)
    show(sql)
    job = await claim_one(work)
    assert hidden_hours(sql, job_id) == 24, "held"
    assert await work.retry(job, 2 * 3600, AWAY, spend=False) == "RETRYING"
    assert hidden_hours(sql, job_id) == 2
    await expire_lease(database, IMAGE_QUEUE)
    job = await claim_one(work)
    assert await work.release(job, 0, "released")
    assert hidden_hours(sql, job_id) == 0
    job = await claim_one(work)
    show(sql)
    await stage(database, job)
    assert hidden_hours(sql, job_id) == 24, "staged"
