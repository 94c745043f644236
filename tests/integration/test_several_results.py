"""What becomes of a job of which not every result can be stored."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.queue import ClaimedJob, Gate, WorkQueue
from superstoryboard.jobs.steering import Steering, Way
from superstoryboard.jobs.store import FrozenGeneration
from tests.integration.helpers import ENDING, FACTS, accept, claim_one, finish, row
from tests.integration.kind_steps import OWN_QUEUE, add_kind
from tests.integration.steering_steps import retry

FAULT = JobError(ErrorClass.CONFIG, "STORAGE_TOO_LARGE", "Storage refused it")


@pytest.fixture
async def job(database: Database, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> ClaimedJob:
    """A job with up to two results, in the hands of a worker."""
    add_kind(sql, monkeypatch, max_results=2)
    await accept(database, kind="echo", provider="", model="", generation={"sceneId": ""})
    return await claim_one(WorkQueue(database, OWN_QUEUE, ["echo"], "worker-1", Gate()))


@pytest.fixture
async def staged(database: Database, job: ClaimedJob) -> list[UUID]:
    """Its results, handed over."""
    artifacts = Artifacts(database)
    ids = [each.id for each in await artifacts.begin(job, staging_bucket="s", results=[FACTS, FACTS])]
    # The second time the answer of the first was lost on the way.
    assert [await artifacts.stage(ids, job) for _ in range(2)] == ["STAGED", "STAGED"]
    return ids


async def stored(database: Database, job: ClaimedJob) -> tuple[str, list[str], list[int]]:
    """State, warnings, and which results it shows."""
    record = await row(database, job.id)
    assert record["asset"] == (record["assets"] or [None])[0]
    return record["state"], record["warnings"], [asset["index"] for asset in record["assets"]]


@pytest.mark.parametrize("refused_first", [True, False])
@pytest.mark.parametrize("step", ["bury", "give_back"])
async def test_one_that_is_given_up_is_a_warning(
    database: Database, job: ClaimedJob, staged: list[UUID], step: str, refused_first: bool
) -> None:
    artifacts = Artifacts(database)
    give_up = {"bury": artifacts.bury, "give_back": artifacts.give_back}[step]
    if refused_first:
        assert await give_up(staged[0], FAULT, ENDING) == "STAGED"
        assert await finish(database, staged[1]) == ("SUCCEEDED", True)
    else:
        assert await finish(database, staged[1]) == ("STAGED", True)
        assert await give_up(staged[0], FAULT, ENDING) == "SUCCEEDED"
    assert await stored(database, job) == ("SUCCEEDED", ["result not stored"], [1])
    assert await artifacts.claim(artifact_id=None, quantity=5, lease_seconds=60, min_age_seconds=0) == []


async def test_where_all_are_refused_a_redrive_writes_what_is_kept(
    database: Database, steering: Steering, job: ClaimedJob, staged: list[UUID]
) -> None:
    artifacts = Artifacts(database)
    assert await artifacts.bury(staged[1], FAULT, ENDING) == "STAGED"
    assert await artifacts.bury(staged[0], FAULT, ENDING) == "DEAD_LETTERED"
    assert await retry(steering, job.id) is Way.WRITE_AGAIN
    assert [await finish(database, each) for each in staged] == [("STAGED", True), ("SUCCEEDED", True)]
    assert await stored(database, job) == ("SUCCEEDED", [], [0, 1])


async def made_again(database: Database) -> None:
    """The next claim of the job has one result, which is stored."""
    artifacts = Artifacts(database)
    again = await claim_one(WorkQueue(database, OWN_QUEUE, ["echo"], "worker-1", Gate()))
    (only,) = await artifacts.begin(again, staging_bucket="s", results=[FACTS])
    assert await artifacts.stage([only.id], again) == "STAGED"
    assert await finish(database, only.id) == ("SUCCEEDED", True)


async def test_where_all_are_gone_it_starts_again_with_none_of_them(
    database: Database, job: ClaimedJob, staged: list[UUID]
) -> None:
    artifacts = Artifacts(database)
    assert [await artifacts.give_back(each, FAULT, ENDING) for each in staged] == ["STAGED", "RETRYING"]
    await made_again(database)
    assert await stored(database, job) == ("SUCCEEDED", [], [0])


async def test_an_edited_job_shows_nothing_of_what_was_stored_before(
    database: Database, sql: psycopg.Connection, steering: Steering, job: ClaimedJob, staged: list[UUID]
) -> None:
    assert await finish(database, staged[1]) == ("STAGED", True)
    assert sql.execute("select superstoryboard.sweep_long_staged('0 s', 10)").fetchone() == (1,)
    assert await stored(database, job) == ("DEAD_LETTERED", [], [])
    edit = FrozenGeneration({"spokenText": "louder"}, "", "", [])
    assert await steering.redrive([job.id], actor="operator", edit=edit) is None
    await made_again(database)
    assert await stored(database, job) == ("SUCCEEDED", [], [0])
    assert sql.execute("select index from superstoryboard.assets where job_id is null").fetchall() == [(1,)]


@pytest.mark.parametrize("results", [0, 3])
async def test_their_number_is_that_of_the_kind(database: Database, job: ClaimedJob, results: int) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await Artifacts(database).begin(job, staging_bucket="s", results=[FACTS] * results)
