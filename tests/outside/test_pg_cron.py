"""The sweep and the wake-up as Debian's pg_cron runs them, scheduled and watched by the statements of the runbook."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import Notify

from superstoryboard.db.migrate import migrate
from superstoryboard.db.notify import QUEUE_CHANNEL
from tests.conftest import KV_TABLE, admin
from tests.integration.helpers import IMAGE_QUEUE, VIDEO_QUEUE
from tests.outside.conftest import BINARIES, MAJOR, DebianPostgres, install

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "RUNBOOK.md"
BLOCK = re.compile(r"^```sql pg_cron\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXTENSION = Path(f"/usr/share/postgresql/{MAJOR}/extension/pg_cron.control")
DATABASE = "cron_test"
OPTIONS = f"-c shared_preload_libraries=pg_cron -c cron.database_name={DATABASE}"
MODES = {"connections": "-c cron.host=127.0.0.1", "background workers": "-c cron.use_background_workers=on"}
# Debian's pg_cron knows no schedules below a minute; the first tick may come before it has read its jobs.
TICKS_SECONDS = 130.0
RUNS_CHANNEL = "cron_runs"
REPORT_RUNS = f"""
    create function report_run() returns trigger language plpgsql as $$
    begin
      perform pg_notify('{RUNS_CHANNEL}', new.runid::text);
      return null;
    end
    $$;
    create trigger report_run after update on cron.job_run_details
      for each row when (old.end_time is null and new.end_time is not null) execute function report_run();
    listen {RUNS_CHANNEL};
    listen {QUEUE_CHANNEL};
"""
OLD_RUNS = """
    insert into cron.job_run_details (jobid, command, status, end_time) values
      (1, 'superstoryboard: ended', 'succeeded', now() - interval '8 days'),
      (1, 'superstoryboard: refused', 'failed', null);
"""

pytestmark = pytest.mark.timeout(TICKS_SECONDS + 60)


@pytest.fixture(params=MODES)
def cron(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A migrated database with the jobs of the runbook, each at every minute; it hears of ends of runs and wake-ups."""
    install(f"postgresql-{MAJOR}", BINARIES)
    install(f"postgresql-{MAJOR}-cron", EXTENSION)
    with TemporaryDirectory(prefix="pg-cron-") as folder:
        server = DebianPostgres(Path(folder), f"{OPTIONS} {MODES[request.param]}")
        server.start()
        try:
            admin(server, f"create database {DATABASE}")
            migrate(server.url_of(DATABASE), kv_table=KV_TABLE)
            with psycopg.connect(server.url_of(DATABASE), autocommit=True) as connection:
                connection.execute(statements("cron.schedule("))
                connection.execute("select cron.alter_job(jobid, schedule => '* * * * *') from cron.job")
                connection.execute(REPORT_RUNS)
                yield connection
        finally:
            server.stop()


def statements(word: str) -> str:
    """The one block of the runbook with this word."""
    (block,) = (block for block in BLOCK.findall(RUNBOOK.read_text()) if word in block)
    return str(block)


def until_ended(cron: psycopg.Connection, runs: int) -> list[Notify]:
    """Whatever is heard until so many runs have ended."""
    heard: list[Notify] = []
    for notify in cron.notifies(timeout=TICKS_SECONDS):
        heard.append(notify)
        if sum(each.channel == RUNS_CHANNEL for each in heard) == runs:
            return heard
    raise AssertionError(f"pg_cron ended fewer than {runs} runs: {heard}")


def send(cron: psycopg.Connection, call: str, queue: str) -> int:
    """Send a message by this function and return its msg_id."""
    body = '{"storyboardId": "board", "prompt": "a fox"}'
    row = cron.execute(f"select {call}(%s, %s::jsonb)", (queue, body)).fetchone()
    assert row is not None
    return int(row[0])


def without_trigger(cron: psycopg.Connection) -> None:
    """Leave the adoption of messages to the sweep, as where there is no right to make a trigger."""
    cron.execute("drop trigger superstoryboard_adopt on pgmq.q_image_generation_queue")


def sweep(connection: psycopg.Connection) -> dict[str, int]:
    """Sweep by hand: what each duty changed, empty where another sweep runs."""
    return dict(connection.execute("select duty, changed from superstoryboard.sweep()").fetchall())


def jobs(cron: psycopg.Connection) -> list[tuple[str, str, list[str]]]:
    return cron.execute("select kind, state, warnings from superstoryboard.jobs order by kind").fetchall()


def last_runs(cron: psycopg.Connection) -> dict[str, tuple[str, str, int]]:
    """Status, message and process of the last run of each job."""
    rows = cron.execute(
        "select jobname, status, return_message, job_pid from cron.job_run_details join cron.job using (jobid)"
        " order by runid"
    )
    return {name: (status, message, pid) for name, status, message, pid in rows}


def test_cron_sweeps_and_wakes_as_the_runbook_schedules(cron: psycopg.Connection) -> None:
    without_trigger(cron)
    send(cron, "pgmq.send", IMAGE_QUEUE)
    removed = send(cron, "public.pgmq_send", VIDEO_QUEUE)
    cron.execute("select pgmq.delete(%s, %s)", (VIDEO_QUEUE, removed))
    assert jobs(cron) == [("video", "QUEUED", [])]
    heard = until_ended(cron, 3)
    assert jobs(cron) == [("image", "QUEUED", []), ("video", "CANCELLED", ["message removed"])]
    runs = last_runs(cron)
    assert {name: status for name, (status, _, _) in runs.items()} == {
        "superstoryboard-sweep": "succeeded",
        "superstoryboard-wake": "succeeded",
        "superstoryboard-history": "succeeded",
    }
    woken_by = {each.pid for each in heard if each.channel == QUEUE_CHANNEL}
    assert runs["superstoryboard-wake"][2] in woken_by
    assert cron.execute(statements("return_message")).fetchall() == []
    cron.execute(statements("cron.unschedule("))
    assert cron.execute("select * from cron.job").fetchall() == []


@pytest.mark.parametrize("cron", ["connections"], indirect=True)
def test_sweeps_at_once_do_the_work_once_and_failures_are_shown(cron: psycopg.Connection) -> None:
    command = "select superstoryboard.wake('no_such_queue')"
    cron.execute("select cron.schedule('failing', '* * * * *', %s)", (command,))
    cron.execute(OLD_RUNS)
    without_trigger(cron)
    for _ in range(20):
        send(cron, "pgmq.send", IMAGE_QUEUE)
    with psycopg.connect(cron.info.dsn) as slow:
        assert sweep(slow)["adopt_messages"] == 20
        assert sweep(cron) == {}
        until_ended(cron, 4)
        assert last_runs(cron)["superstoryboard-sweep"][:2] == ("succeeded", "0 rows")
    events = cron.execute("select message, job_id from superstoryboard.job_events").fetchall()
    assert Counter(message for message, _ in events) == {"Accepted from the queue": 20}
    assert len({job_id for _, job_id in events}) == 20
    ((_, failed, reason),) = cron.execute(statements("return_message")).fetchall()
    assert failed == command
    assert "unknown queue 'no_such_queue'" in reason
    assert cron.execute("select from cron.job_run_details where command like 'superstoryboard: %'").fetchall() == []
