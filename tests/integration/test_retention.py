"""Each age of the settings is that of its own tables, down to the process that sweeps."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import grpc
import psycopg
import pytest

from services.ingest.settings import IngestSettings
from superstoryboard.db.database import Database
from superstoryboard.domain.errors import ErrorClass, JobError
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.sweeps import Ages, Sweeper
from superstoryboard.v1 import queue_service_pb2 as api
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.integration.helpers import ENDING, accept, claim_one, finish, image_queue, stage
from tests.running import OWN_CONNECTION, SERVICE, running

FIFTY_DAYS_AGO = """
update superstoryboard.jobs
set scheduled_at = scheduled_at - interval '50 days', ended_at = ended_at - interval '50 days';
update superstoryboard.artifacts
set staged_at = staged_at - interval '50 days', ended_at = ended_at - interval '50 days', cleaned_at = ended_at;
update superstoryboard.job_events set created_at = created_at - interval '50 days';
update pgmq.a_image_generation_queue set archived_at = archived_at - interval '50 days';
"""
BY_SETTING = {
    "JOB_MAX_AGE_DAYS": ("job_max_age", {"bury_overdue", "bury_staged"}),
    "RETENTION_EVENTS_DAYS": ("events", {"delete_events"}),
    "RETENTION_JOBS_DAYS": ("jobs", {"delete_jobs"}),
    "RETENTION_ARCHIVE_DAYS": ("archives", {"delete_archives"}),
    "RETENTION_DEAD_LETTERS_DAYS": ("dead_letters", {"discard_dead_letters"}),
}
LONG = dict.fromkeys((age for age, _ in BY_SETTING.values()), timedelta(days=100))


@pytest.fixture
async def aged(database: Database, sql: psycopg.Connection) -> None:
    """One job of each end, all of them fifty days old: stored, dead letter, staged, waiting."""
    for _ in range(4):
        await accept(database)
    work = image_queue(database)
    await finish(database, await stage(database, await claim_one(work)))
    dead = await stage(database, await claim_one(work))
    await Artifacts(database).bury(dead, JobError(ErrorClass.CONFIG, "CODE", "m"), ENDING)
    await stage(database, await claim_one(work))
    sql.execute(FIFTY_DAYS_AGO)


@pytest.mark.usefixtures("aged")
@pytest.mark.parametrize(("age", "duties"), BY_SETTING.values(), ids=list(BY_SETTING))
async def test_each_age_is_that_of_its_own_tables(database: Database, age: str, duties: set[str]) -> None:
    assert [duty for duty in await Sweeper(database, Ages(**LONG)).sweep() if duty.changed] == []
    ages = Ages(**(LONG | {age: timedelta(days=40)}))
    assert {duty.name for duty in await Sweeper(database, ages).sweep() if duty.changed} == duties


@pytest.mark.usefixtures("aged")
@pytest.mark.parametrize(("age", "duties"), BY_SETTING.values(), ids=list(BY_SETTING))
def test_the_statement_of_a_schedule_takes_the_same_ages(sql: psycopg.Connection, age: str, duties: set[str]) -> None:
    named = {"job_max_age": "p_max_age", "events": "p_event_age", "jobs": "p_job_age"}
    named |= {"archives": "p_archive_age", "dead_letters": "p_dead_letter_age"}
    days = {name: 40 if name == age else 100 for name in LONG}
    arguments = ", ".join(f"{named[name]} => interval '{days[name]} days'" for name in LONG)
    swept = sql.execute(f"select duty from superstoryboard.sweep({arguments}) where changed > 0".encode()).fetchall()
    assert {duty for (duty,) in swept} == duties


def test_each_setting_is_its_own_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db")
    monkeypatch.setenv("AUTH_DISABLED", "true")
    for days, name in enumerate(BY_SETTING, start=3):
        monkeypatch.setenv(name, str(days))
    expected = {age: timedelta(days=days) for days, (age, _) in enumerate(BY_SETTING.values(), start=3)}
    assert vars(IngestSettings.read().ages()) == expected


@pytest.mark.usefixtures("aged")
def test_ingest_sweeps_with_its_settings(database_url: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": database_url, "RETENTION_EVENTS_DAYS": "100", "RETENTION_ARCHIVE_DAYS": "40"}
    settings |= {"RETENTION_JOBS_DAYS": "100", "JOB_MAX_AGE_DAYS": "100"}
    with (
        running("ingest", settings, tmp_path / "log") as ingest,
        grpc.insecure_channel(ingest.address, OWN_CONNECTION) as channel,
    ):
        answer = QueueServiceStub(channel).Sweep(api.SweepRequest(), metadata=SERVICE)
    assert {duty.name for duty in answer.duties if duty.count} == {"delete_archives"}


async def test_events_deleted_in_any_order_leave_the_highest_mark(database: Database, sql: psycopg.Connection) -> None:
    for _ in range(3):
        await accept(database)
    sql.execute("delete from superstoryboard.job_events where sequence = 2")
    sql.execute("delete from superstoryboard.job_events where sequence = 1")
    assert sql.execute("select pruned_sequence from superstoryboard.event_log").fetchone() == (2,)
