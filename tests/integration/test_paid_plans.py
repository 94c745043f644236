"""What is paid for is claimed first, and looking for it reads none of the jobs that have ended."""

from __future__ import annotations

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.steering import Steering
from tests.integration.helpers import accept, claim_one, intend, video_queue
from tests.integration.test_plans import blocks

ENDED = 2000
BLOCKS_MAX = 100

FILL = f"""
insert into superstoryboard.jobs (id, kind, owner, generation, state, queue, msg_id, enqueued_at, claim)
select md5(n::text)::uuid, case n % 2 when 0 then 'image' else 'video' end, 'alice', '{{}}', 'RUNNING',
  case n % 2 when 0 then 'image' else 'video' end || '_generation_queue', n, now(), 1
from generate_series(1, {ENDED}) n;
insert into superstoryboard.provider_calls (
  job_id, claim, call_hash, route, shape, model, state, operation_name, accepted_at, search_until)
select id, 1, 'h', 'r', case kind when 'video' then 'OPERATION' else 'ANSWER' end, 'm',
  case when kind = 'video' and msg_id % 4 = 1 then 'ACCEPTED' else 'INTENT' end,
  case when kind = 'video' and msg_id % 4 = 1 then id::text end, now(), case kind when 'video' then now() end
from superstoryboard.jobs;
insert into superstoryboard.artifacts (id, job_id, call_id, claim, staging_bucket, staging_key)
select gen_random_uuid(), job_id, c.id, 1, 's', job_id::text
from superstoryboard.provider_calls c join superstoryboard.jobs j on j.id = job_id where kind = 'image';
update superstoryboard.jobs set state = case when msg_id % 3 = 0 then 'CANCELLED' else 'DEAD_LETTERED' end,
  ended_at = now();
insert into superstoryboard.jobs (id, kind, owner, generation, queue, msg_id, enqueued_at)
select md5((-n)::text)::uuid, case n % 2 when 0 then 'image' else 'video' end, 'alice', '{{}}',
  case n % 2 when 0 then 'image' else 'video' end || '_generation_queue', {ENDED} + n, now()
from generate_series(1, 5 * {ENDED}) n;
insert into superstoryboard.turns (job, queue, kind, model, owner, rank, due_at, ready, turn)
select id, queue, kind, model, owner, rank, now(), true, msg_id from superstoryboard.jobs where state = 'QUEUED';
analyze superstoryboard.turns;
analyze superstoryboard.jobs, superstoryboard.artifacts, superstoryboard.provider_calls;
"""


@pytest.mark.parametrize("kind", ["image", "video"])
def test_calls_and_uploads_of_ended_jobs_are_not_read(sql: psycopg.Connection, kind: str) -> None:
    sql.execute(FILL)
    claim = f"select * from superstoryboard.claim_paid('{kind}_generation_queue', '{{{kind}}}', 'w', 5, 60, '{{}}')"
    assert blocks(sql, claim) < BLOCKS_MAX


async def test_what_starts_again_is_claimed_first_again(database: Database, sql: psycopg.Connection) -> None:
    job_id = await accept(database, kind="video")
    work = video_queue(database)
    job = await claim_one(work)
    call_id = await intend(database, job)
    assert call_id is not None
    await Ledger(database).accept(call_id, "operations/1")
    assert await work.bury(job, JobError(ErrorClass.TRANSIENT, "CODE", "it ended")) == "DEAD_LETTERED"
    parked = "select parked from superstoryboard.provider_calls"
    assert sql.execute(parked).fetchall() == [(True,)]
    await accept(database, kind="video")
    await Steering(database).retry(job_id, owner=None, actor="bob", accept_second_payment=False)
    assert sql.execute(parked).fetchall() == [(False,)]
    assert [claimed.id for claimed in await work.claim(1, 60)] == [job_id]
