"""What became of every job and every payment of a row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc

from superstoryboard.v1 import generation_service_pb2 as api
from tests.emulators import google_fixture, storage_fixture
from tests.faults.world import World
from tests.running import BOB, SECRET

ENDED = "('SUCCEEDED', 'FAILED', 'DEAD_LETTERED', 'CANCELLED')"
SECRETS = (SECRET, google_fixture.KEY, storage_fixture.SECRET_KEY, storage_fixture.STAGING_KEY)


@dataclass(frozen=True)
class Account:
    """Counts of one row.

    `lost`: jobs that did not end, ended FAILED, or ended without their asset, link or archived message.
    `doubled`: jobs that nobody asked for or that succeeded twice, and entities that do not show their newest result.
    `second_payments`: accepted calls beyond the first of a job; of an image also beyond those of unknown outcome.
    `spent`: attempts beyond the first. `leaks`: jobs shown to another caller, and secrets in logs.
    `seconds`: to recover.
    """

    asked: int
    accepted: int
    succeeded: int
    dead: dict[str, int]
    cancelled: int
    lost: int
    assets: int
    doubled: int
    calls: int
    unknown: int
    second_payments: int
    spent: int
    leaks: int
    seconds: float

    @property
    def faults(self) -> list[str]:
        """What must never be, whatever breaks."""
        names = ("lost", "doubled", "second_payments", "leaks")
        found = [f"{name} {getattr(self, name)}" for name in names if getattr(self, name)]
        ended = self.succeeded + sum(self.dead.values()) + self.cancelled
        return found + ([f"{ended} of {self.asked} accounted for"] if ended != self.asked else [])


def open_jobs(world: World) -> int:
    """Jobs of the row that have not ended."""
    found = world.running.sql.execute(
        f"select count(*) from superstoryboard.jobs where storyboard_id = %s and state not in {ENDED}", (world.row,)
    ).fetchone()
    assert found is not None
    return int(found[0])


def account(world: World, asked: int, healed: datetime) -> Account:
    """Count a row whose jobs have ended, or should have, and whose fault had ended at this time."""
    jobs = _jobs(world)
    states = Counter(job["state"] for job in jobs)
    calls = _calls_by_prompt(world)
    unended = sum(job["state"] not in ("SUCCEEDED", "DEAD_LETTERED", "CANCELLED") for job in jobs)
    return Account(
        asked=asked,
        accepted=len(jobs),
        succeeded=states["SUCCEEDED"],
        dead=dict(Counter(job["code"] for job in jobs if job["state"] == "DEAD_LETTERED")),
        cancelled=states["CANCELLED"],
        lost=unended + max(0, asked - len(jobs)) + _without_asset(jobs) + _messages_left(world) + _unlinked(world),
        assets=sum(job["assets"] for job in jobs),
        doubled=max(0, len(jobs) - asked) + sum(job["stored"] > 1 for job in jobs) + _older_shown(world),
        calls=sum(calls.values()),
        unknown=sum(job["unknown"] for job in jobs),
        second_payments=sum(_second_payments(job, calls[job["prompt"]]) for job in jobs),
        spent=sum(max(0, job["attempt"] - 1) for job in jobs),
        leaks=_seen_by_others(world, [str(job["id"]) for job in jobs]) + _secrets_logged(world),
        seconds=_recovery_seconds(world, healed),
    )


def _jobs(world: World) -> list[dict[str, Any]]:
    cursor = world.running.sql.execute(
        "select j.id, j.kind, j.state, j.attempt, j.error ->> 'code' as code, j.generation ->> 'prompt' as prompt,"
        " (select count(*) from superstoryboard.assets a where a.job_id = j.id) as assets,"
        " (select count(*) from superstoryboard.job_events e"
        "  where e.job_id = j.id and e.state = 'SUCCEEDED') as stored,"
        " (select count(*) from superstoryboard.provider_calls c"
        "  where c.job_id = j.id and c.state = 'UNKNOWN') as unknown"
        " from superstoryboard.jobs j where j.storyboard_id = %s",
        (world.row,),
    )
    names = [column.name for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _recovery_seconds(world: World, healed: datetime) -> float:
    """From the end of the fault until the last of the jobs that had been started by then has ended."""
    row = world.running.sql.execute(
        "select extract(epoch from max(coalesce(ended_at, clock_timestamp())) - %(healed)s)::float8"
        " from superstoryboard.jobs where storyboard_id = %(row)s and started_at <= %(healed)s",
        {"row": world.row, "healed": healed},
    ).fetchone()
    assert row is not None
    return max(0.0, row[0] or 0.0)


def _second_payments(job: dict[str, Any], calls: int) -> int:
    """Accepted calls beyond the first; a call of an image whose outcome stayed unknown is counted beside."""
    allowed = 1 + (job["unknown"] if job["kind"] == "image" else 0)
    return max(0, calls - allowed)


def _calls_by_prompt(world: World) -> Counter[str]:
    rows = google_fixture.report(world.running.google)["requests"]
    return Counter(row["prompt"] for row in rows if row["accepted"])


def _without_asset(jobs: list[dict[str, Any]]) -> int:
    return sum(job["state"] == "SUCCEEDED" and not job["assets"] for job in jobs)


def _messages_left(world: World) -> int:
    """Messages of ended jobs that are still in their queue."""
    left = world.running.sql.execute(
        "select count(*) from superstoryboard.jobs j where j.storyboard_id = %(row)s and exists ("
        " select from pgmq.q_image_generation_queue q where q.msg_id = j.msg_id and j.kind = 'image'"
        " union all select from pgmq.q_video_generation_queue q where q.msg_id = j.msg_id and j.kind = 'video')",
        {"row": world.row},
    ).fetchone()
    assert left is not None
    return int(left[0])


def _newest(world: World) -> list[tuple[str, str, str]]:
    """Scene, kind and asset of the newest job that succeeded, by scene and kind."""
    return world.running.sql.execute(
        "select distinct on (j.scene_id, j.kind) j.scene_id, j.kind, a.url from superstoryboard.jobs j"
        " join superstoryboard.assets a on a.job_id = j.id"
        " where j.storyboard_id = %s and j.state = 'SUCCEEDED' order by j.scene_id, j.kind, j.rank desc",
        (world.row,),
    ).fetchall()


def _shown(world: World) -> dict[tuple[str, str], str]:
    scenes = world.running.kv(f"storyboard:{world.row}")["scenes"]
    return {
        (scene["id"], kind): scene[f"{kind}Url"]
        for scene in scenes
        for kind in ("image", "video")
        if f"{kind}Url" in scene
    }


def _unlinked(world: World) -> int:
    """Entities with a result that show none."""
    shown = _shown(world)
    return sum((scene, kind) not in shown for scene, kind, _ in _newest(world))


def _older_shown(world: World) -> int:
    """Entities that show another result than their newest job's."""
    shown = _shown(world)
    return sum(shown.get((scene, kind), url) != url for scene, kind, url in _newest(world))


def _seen_by_others(world: World, jobs: list[str]) -> int:
    """Jobs of the row that another user is shown; one is asked for, the others have the same owner."""
    request = api.GetJobRequest(job_id=jobs[0])
    try:
        world.running.stub.GetJob(request, metadata=BOB, timeout=10, wait_for_ready=True)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return 0
        raise
    return len(jobs)


def _secrets_logged(world: World) -> int:
    """Secrets that stand in the log of a process."""
    logs = [service.log.read_text() for service in world.running.services.values()]
    return sum(secret in log for secret in SECRETS for log in logs)
