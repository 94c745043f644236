"""What became of every job and every payment of a row, held against what Google and Storage say themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc

from superstoryboard.v1 import generation_service_pb2 as api
from tests.emulators import google_fixture, storage_fixture
from tests.faults.outside import Paid, first_staged, hashes_of, paid_calls
from tests.faults.world import World
from tests.running import BOB, SECRET

ENDED = ("SUCCEEDED", "FAILED", "DEAD_LETTERED", "CANCELLED")
WELL_ENDED = ("SUCCEEDED", "DEAD_LETTERED", "CANCELLED")
SECRETS = (SECRET, google_fixture.KEY, storage_fixture.SECRET_KEY, storage_fixture.STAGING_KEY)
JOBS = """
select j.id::text, j.kind, j.state, j.storyboard_id, j.scene_id, j.attempt, j.max_attempts, j.rank, j.msg_id,
  j.error ->> 'code' as code, j.error ->> 'class' as class, coalesce(j.generation ->> 'prompt', '') as prompt,
  a.url, a.sha256,
  (select count(*) from superstoryboard.job_events e where e.job_id = j.id and e.state = 'SUCCEEDED') as successes,
  (select count(*) from superstoryboard.provider_calls c
   where c.job_id = j.id and (c.paid or c.state <> 'SETTLED')) as booked,
  (select count(*) from superstoryboard.provider_calls c where c.job_id = j.id and c.state = 'UNKNOWN') as unknown,
  (select array_agg(c.operation_name) from superstoryboard.provider_calls c
   where c.job_id = j.id and c.operation_name is not null) as names,
  case j.kind
    when 'image' then exists (select from pgmq.q_image_generation_queue q where q.msg_id = j.msg_id)
    else exists (select from pgmq.q_video_generation_queue q where q.msg_id = j.msg_id) end as in_queue
from superstoryboard.jobs j left join superstoryboard.assets a on a.job_id = j.id
where j.storyboard_id = any (%s)
"""

NEVER = ("lost", "doubled", "wrong_bytes", "wrong_links", "second_payments", "booked_unpaid", "too_many", "leaks")

Job = dict[str, Any]


@dataclass(frozen=True)
class KindCounts:
    """Counts of the images or of the videos of a row.

    `paid`: calls that Google accepted, by its own journal. `stored`: assets whose object, fetched over HTTP, has the
    hash that the database names and that Google gave out. `wasted`: accepted calls of jobs that ended without an asset.
    `unknown`: calls that the ledger shows as of unknown outcome. `discarded`: good answers beyond the first of a job,
    lost before Storage had them.
    """

    paid: int = 0
    stored: int = 0
    wasted: int = 0
    unknown: int = 0
    discarded: int = 0

    @property
    def ratio(self) -> str:
        """Paid calls per finished asset."""
        return f"{self.paid / self.stored:.2f}" if self.stored else "-"


@dataclass(frozen=True)
class Account:
    """Counts of one row.

    `lost`: jobs that did not end, ended FAILED, or ended without their asset, link or archived message.
    `doubled`: jobs that nobody asked for or that succeeded twice.
    `wrong_bytes`: assets whose object is missing or differs from the database or from what Google gave out.
    `wrong_links`: entities that show another URL or other bytes than the newest result.
    `second_payments`: accepted calls of a video beyond the first; of an image those that were not answered and that the
    ledger does not show as unknown, and any after Storage had taken its bytes; calls for which there is no job. Images
    that were paid for again although the first answer was good are counted as `discarded`, and a row says how many of
    those were lost with a process: all others are second payments too (tests.faults.run).
    `booked_unpaid`: accepted calls that the ledger shows as not sent or not paid.
    `too_many`: jobs with more accepted calls than attempts.
    `names_lost`: operations of Google whose names the ledger does not have; `names_found`: found again by the search.
    `forsaken`: paid videos that became dead letters although the ledger has their names.
    `spent`: attempts beyond the first. `leaks`: jobs shown to another caller, and secrets in logs.
    `seconds`: to recover.
    """

    asked: int
    jobs: int
    succeeded: int
    dead: dict[tuple[str, str], int]
    cancelled: int
    images: KindCounts
    videos: KindCounts
    lost: int
    doubled: int
    wrong_bytes: int
    wrong_links: int
    second_payments: int
    booked_unpaid: int
    too_many: int
    names_lost: int
    names_found: int
    forsaken: int
    spent: int
    leaks: int
    seconds: float

    @property
    def faults(self) -> list[str]:
        """What must never be, whatever breaks."""
        names = (
            "lost",
            "doubled",
            "wrong_bytes",
            "wrong_links",
            "second_payments",
            "booked_unpaid",
            "too_many",
            "leaks",
        )
        lines = [f"{name} {getattr(self, name)}" for name in names if getattr(self, name)]
        ended = self.succeeded + sum(self.dead.values()) + self.cancelled
        return lines + ([f"{ended} of {self.asked} accounted for"] if ended != self.asked else [])


def open_jobs(world: World) -> int:
    """Jobs of the row that have not ended."""
    record = world.running.sql.execute(
        "select count(*) from superstoryboard.jobs where storyboard_id = any (%s) and state <> all (%s)",
        (world.boards, list(ENDED)),
    ).fetchone()
    assert record is not None
    return int(record[0])


def account(world: World, asked: int, healed: datetime) -> Account:
    """Count a row whose jobs have ended, or should have, and whose fault had ended at this time."""
    jobs = _jobs(world)
    calls = paid_calls(world.running)
    shown = _shown(world)
    urls = [job["url"] for job in jobs if job["url"]] + [url for _, _, _, url in shown]
    hashes = hashes_of(urls)
    staged = first_staged(world.running)
    states = Counter(job["state"] for job in jobs)
    good = {job["id"] for job in jobs if job["url"] and _is_good(job, calls.get(job["prompt"]), hashes)}
    called = _called(jobs, calls)
    prompts = {job["prompt"] for job in jobs}
    strays = sum(paid.accepted for prompt, paid in calls.items() if prompt not in prompts)
    unended = sum(job["state"] not in WELL_ENDED for job in jobs)
    return Account(
        asked=asked,
        jobs=len(jobs),
        succeeded=states["SUCCEEDED"],
        dead=dict(Counter((job["class"], job["code"]) for job in jobs if job["state"] == "DEAD_LETTERED")),
        cancelled=states["CANCELLED"],
        images=_kind("image", jobs, calls, good, staged),
        videos=_kind("video", jobs, calls, good, staged),
        lost=unended + max(0, asked - len(jobs)) + _without_asset(jobs) + _messages_left(jobs) + _unlinked(jobs, shown),
        doubled=max(0, len(jobs) - asked) + sum(job["successes"] > 1 for job in jobs),
        wrong_bytes=sum(bool(job["url"]) and job["id"] not in good for job in jobs),
        wrong_links=_wrong_links(jobs, shown, hashes),
        second_payments=strays + sum(_second_payments(job, calls[job["prompt"]], staged) for job in called),
        booked_unpaid=sum(max(0, calls[job["prompt"]].accepted - job["booked"]) for job in called),
        too_many=sum(calls[job["prompt"]].accepted > job["max_attempts"] for job in called),
        names_lost=sum(len(calls[job["prompt"]].operations - set(job["names"] or ())) for job in called),
        names_found=world.names_found(),
        forsaken=sum(job["state"] == "DEAD_LETTERED" and _names_kept(job, calls[job["prompt"]]) for job in called),
        spent=sum(max(0, job["attempt"] - 1) for job in jobs),
        leaks=_seen_by_others(world, jobs) + _secrets_logged(world),
        seconds=_recovery_seconds(world, healed),
    )


def _jobs(world: World) -> list[Job]:
    cursor = world.running.sql.execute(JOBS, (world.boards,))
    names = [column.name for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _called(jobs: list[Job], calls: dict[str, Paid]) -> list[Job]:
    return [job for job in jobs if job["prompt"] in calls]


def _kind(kind: str, jobs: list[Job], calls: dict[str, Paid], good: set[str], staged: dict[str, float]) -> KindCounts:
    """Counts of one kind. A video's answer is a name: one beyond the first is a second payment, not a lost picture."""
    called = [job for job in _called(jobs, calls) if job["kind"] == kind]
    return KindCounts(
        paid=sum(paid.accepted for paid in calls.values() if paid.kind == kind),
        stored=sum(job["kind"] == kind for job in jobs if job["id"] in good),
        wasted=sum(calls[job["prompt"]].accepted for job in called if not job["url"]),
        unknown=sum(job["unknown"] for job in jobs if job["kind"] == kind),
        discarded=sum(_discarded(job, calls[job["prompt"]], staged) for job in called if kind == "image"),
    )


def _is_good(job: Job, paid: Paid | None, hashes: dict[str, str]) -> bool:
    """The object is there, with the hash that the database names, and Google gave these bytes out for this job."""
    return paid is not None and hashes[job["url"]] == job["sha256"] and job["sha256"] in paid.given


def _names_kept(job: Job, paid: Paid) -> bool:
    return job["kind"] == "video" and paid.operations <= set(job["names"] or ())


def _second_payments(job: Job, paid: Paid, staged: dict[str, float]) -> int:
    if job["kind"] == "video":
        return max(0, paid.accepted - 1)
    unanswered = paid.accepted - max(1, paid.answered)
    return max(0, unanswered - int(job["unknown"]), _paid_after_staged(job, paid, staged))


def _discarded(job: Job, paid: Paid, staged: dict[str, float]) -> int:
    """Good answers beyond the first, save one that was asked for when the first was in staging already."""
    return max(0, paid.answered - 1 - _paid_after_staged(job, paid, staged))


def _paid_after_staged(job: Job, paid: Paid, staged: dict[str, float]) -> int:
    return int(paid.last > staged.get(job["id"], paid.last))


def _recovery_seconds(world: World, healed: datetime) -> float:
    """From the end of the fault until the last of the jobs that had been started by then has ended."""
    row = world.running.sql.execute(
        "select extract(epoch from max(coalesce(ended_at, clock_timestamp())) - %(healed)s)::float8"
        " from superstoryboard.jobs where storyboard_id = any (%(boards)s) and started_at <= %(healed)s",
        {"boards": world.boards, "healed": healed},
    ).fetchone()
    assert row is not None
    return max(0.0, row[0] or 0.0)


def _without_asset(jobs: list[Job]) -> int:
    return sum(job["state"] == "SUCCEEDED" and not job["url"] for job in jobs)


def _messages_left(jobs: list[Job]) -> int:
    """Messages of ended jobs that are still in their queue."""
    return sum(job["in_queue"] and job["state"] in ENDED for job in jobs)


def _newest(jobs: list[Job]) -> dict[tuple[str, str, str], Job]:
    """The newest job that succeeded, by storyboard, scene and kind."""
    done = sorted(
        (job for job in jobs if job["state"] == "SUCCEEDED"), key=lambda job: (int(job["rank"]), int(job["msg_id"]))
    )
    return {(job["storyboard_id"], job["scene_id"], job["kind"]): job for job in done}


def _shown(world: World) -> list[tuple[str, str, str, str]]:
    """Storyboard, scene, kind and URL of everything that the kv rows show."""
    lines = []
    for board in world.boards:
        items = [(scene["id"], scene) for scene in world.running.kv(f"storyboard:{board}")["scenes"]]
        items += [(key.rpartition(":")[2], value) for key, value in world.kv_rows(f"scene:{board}:")]
        lines += [
            (board, scene, kind, str(value[f"{kind}Url"]))
            for scene, value in items
            for kind in ("image", "video")
            if f"{kind}Url" in value
        ]
    return lines


def _unlinked(jobs: list[Job], shown: list[tuple[str, str, str, str]]) -> int:
    """Entities with a result that show none."""
    return len(_newest(jobs).keys() - {(board, scene, kind) for board, scene, kind, _ in shown})


def _wrong_links(jobs: list[Job], shown: list[tuple[str, str, str, str]], hashes: dict[str, str]) -> int:
    """Entities that show something else than the result of their newest job."""
    newest = _newest(jobs)
    wrong = 0
    for board, scene, kind, url in shown:
        job = newest.get((board, scene, kind))
        wrong += job is None or job["url"] != url or hashes[url] != job["sha256"]
    return wrong


def _seen_by_others(world: World, jobs: list[Job]) -> int:
    """Jobs of the row that another user is shown; one is asked for, the others have the same owner."""
    if not jobs:
        return 0
    request = api.GetJobRequest(job_id=jobs[0]["id"])
    try:
        world.running.stub.GetJob(request, metadata=BOB, timeout=30, wait_for_ready=True)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return 0
        raise
    return len(jobs)


def _secrets_logged(world: World) -> int:
    """Secrets that stand in the log of a process."""
    logs = [service.log.read_text() for service in world.running.services.values()]
    return sum(secret in log for secret in SECRETS for log in logs)
