"""kill -9 of a service at a named step, and what must hold afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from superstoryboard.process.checkpoints import VARIABLE
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import Pipeline
from tests.waiting import wait_for


def stopped_at(file: Path) -> None:
    """Wait until a process stands at its step."""
    wait_for(file.exists, what=f"a process at {file.name}")


def kill_at(running: Pipeline, service: str, step: str, folder: Path, act: Callable[[], None]) -> None:
    """Restart a service so that it stops at the step, act, kill it there, and start it as usual again."""
    file = folder / step
    process = running.services[service]
    process.stop()
    process.start(**{VARIABLE: f"{step}:{file}"})
    process.wait_serving()
    act()
    stopped_at(file)
    process.kill()
    process.start()
    process.wait_serving()


def check_once(running: Pipeline, made: job_pb2.Job, kind: str, before: int) -> None:
    assert running.accepted()[kind] == before + 1, "paid calls = assets"
    assert (
        running.kv(f"scene:{made.image.storyboard_id or made.video.storyboard_id}:s1")[f"{kind}Url"] == made.asset.url
    )
    assert len(running.fetch(made)) == made.asset.size_bytes
    calls = running.sql.execute(
        "select state, paid from superstoryboard.provider_calls where job_id = %s", (made.id,)
    ).fetchall()
    assert calls == [("SETTLED", True)]
    queue = f"{kind}_generation_queue"
    counts = running.sql.execute(
        f"select (select count(*) from pgmq.q_{queue} where msg_id = %(id)s),"
        f" (select count(*) from pgmq.a_{queue} where msg_id = %(id)s)",
        {"id": made.msg_id},
    ).fetchone()
    assert counts == (0, 1)
