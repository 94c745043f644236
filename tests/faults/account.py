"""What became of every job and every payment of a row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.emulators.google_fixture import report
from tests.faults.world import World

ENDED = "('SUCCEEDED', 'FAILED', 'DEAD_LETTERED', 'CANCELLED')"


@dataclass(frozen=True)
class Account:
    """Counts of one row. `lost`, `doubled` and `second_payments` must be 0."""

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
    seconds: float

    @property
    def good(self) -> bool:
        """Nothing lost, nothing doubled, nothing paid twice."""
        return not (self.lost or self.doubled or self.second_payments)


def open_jobs(world: World) -> int:
    """Jobs of the row that have not ended."""
    found = world.running.sql.execute(
        f"select count(*) from superstoryboard.jobs where storyboard_id = %s and state not in {ENDED}", (world.row,)
    ).fetchone()
    assert found is not None
    return int(found[0])


def account(world: World, asked: int, seconds: float) -> Account:
    """Count a row whose jobs have ended, or should have."""
    jobs = _jobs(world)
    states = Counter(job["state"] for job in jobs)
    calls = _calls_by_prompt(world)
    return Account(
        accepted=len(jobs),
        succeeded=states["SUCCEEDED"],
        dead=dict(Counter(job["code"] for job in jobs if job["state"] == "DEAD_LETTERED")),
        cancelled=states["CANCELLED"],
        lost=asked - sum(states[state] for state in ("SUCCEEDED", "DEAD_LETTERED", "CANCELLED")) + _broken(world, jobs),
        assets=sum(job["assets"] for job in jobs),
        doubled=sum(job["stored"] > 1 for job in jobs),
        calls=sum(calls.values()),
        unknown=sum(job["unknown"] for job in jobs),
        second_payments=sum(_second_payments(job, calls[job["prompt"]]) for job in jobs),
        seconds=seconds,
    )


def _jobs(world: World) -> list[dict[str, Any]]:
    cursor = world.running.sql.execute(
        "select j.id, j.kind, j.state, j.error ->> 'code' as code, j.generation ->> 'prompt' as prompt,"
        " j.generation ->> 'sceneId' as scene,"
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


def _second_payments(job: dict[str, Any], calls: int) -> int:
    """Accepted calls beyond the first; a call of an image whose outcome stayed unknown is counted beside."""
    allowed = 1 + (job["unknown"] if job["kind"] == "image" else 0)
    return max(0, calls - allowed)


def _calls_by_prompt(world: World) -> Counter[str]:
    rows = report(world.running.google)["requests"]
    return Counter(row["prompt"] for row in rows if row["accepted"])


def _broken(world: World, jobs: list[dict[str, Any]]) -> int:
    """Jobs that succeeded without an asset, a link or an archived message."""
    linked = world.running.kv(f"storyboard:{world.row}")["scenes"]
    shown = {scene["id"] for scene in linked if "imageUrl" in scene or "videoUrl" in scene}
    left = world.running.sql.execute(
        "select count(*) from superstoryboard.jobs j where j.storyboard_id = %(row)s and exists ("
        " select from pgmq.q_image_generation_queue q where q.msg_id = j.msg_id and j.kind = 'image'"
        " union all select from pgmq.q_video_generation_queue q where q.msg_id = j.msg_id and j.kind = 'video')",
        {"row": world.row},
    ).fetchone()
    assert left is not None
    unlinked: int = sum(
        job["state"] == "SUCCEEDED" and (job["scene"] not in shown or not job["assets"]) for job in jobs
    )
    return int(left[0]) + unlinked
