"""Rows in which a process dies, drains, stands still, or shares its jobs with another."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tests.emulators.google_fixture import VIDEO_MODEL
from tests.faults import answers, strikes
from tests.faults.answers import google
from tests.faults.row import Row, nothing
from tests.faults.world import IMAGES_AT_ONCE, SEARCH_SECONDS, World

INTERRUPTED = frozenset({"SUBMIT_INTERRUPTED"})
UNKNOWN = frozenset({"UNKNOWN_OUTCOME"})


def _interrupted(service: str) -> frozenset[str]:
    """A submit that was under way when its worker died is left to a person."""
    return INTERRUPTED | UNKNOWN if service == "video_worker" else frozenset()


def _lost_with(service: str) -> int:
    """Good answers that may be lost with a process."""
    return IMAGES_AT_ONCE if service == "image_worker" else 0


def _looked_for(service: str) -> float:
    """Seconds for which a submit that never reached Google is looked for there before its job becomes a dead letter."""
    return SEARCH_SECONDS if service == "video_worker" else 0.0


def _kill_at(service: str, step: str) -> Row:
    return Row(
        f"kill -9 {service} at {step}",
        nothing,
        service=service,
        step=step,
        dead=_interrupted(service),
        discards=_lost_with(service),
        extra_seconds=_looked_for(service),
    )


def _answer_one_submit(world: World) -> None:
    """One submit is answered while the others are under way, accepted."""
    google(world, on="submit", times=1, delay_seconds=2)
    google(world, on="submit", delay_seconds=8)


STEPS = {
    "ingest": ("accepted-job",),
    "image_worker": ("claimed", "answered", "staged-bytes", "staged"),
    "video_worker": ("claimed", "intended", "accepted", "operation-done", "downloaded", "staged-bytes", "staged"),
    "asset_writer": ("fetched", "uploaded", "finished"),
}
PROCESSES = [
    Row("no fault", nothing, evidence=None, spends=False),
    *(_kill_at(service, step) for service, steps in STEPS.items() for step in steps),
    replace(
        _kill_at("video_worker", "named"),
        name="kill -9 video_worker with the name of a Veo operation in hand",
        before=_answer_one_submit,
        finds=True,
        video_model=VIDEO_MODEL,
    ),
    *(
        Row(
            f"kill -9 {service} at random",
            partial(strikes.kill, service=service),
            dead=_interrupted(service),
            discards=_lost_with(service),
            extra_seconds=_looked_for(service),
        )
        for service in STEPS
    ),
    *(Row(f"SIGTERM {service}", partial(strikes.terminate, service=service), spends=False) for service in STEPS),
    Row(
        "SIGTERM during a slow submit",
        strikes.stop_in_submit,
        partial(google, on="submit", delay_seconds=6, times=2),
        spends=False,
    ),
    Row("leases of image_worker are lost", partial(strikes.freeze, service="image_worker"), discards=IMAGES_AT_ONCE),
    Row("leases of video_worker are lost", partial(strikes.freeze, service="video_worker"), dead=INTERRUPTED | UNKNOWN),
]


def _slow_images(world: World) -> None:
    strikes.double_workers(world)
    google(world, on="image", times=answers.OFTEN, delay_seconds=1)


def _slower_than_leases(world: World) -> None:
    strikes.double_workers(world)
    google(world, on="image", times=2 * IMAGES_AT_ONCE, delay_seconds=strikes.HELD_SECONDS)


SHARED = [
    Row("two attempts at one job", strikes.claim_again, _slow_images, dead=INTERRUPTED | UNKNOWN, discards=30),
    Row("answers take longer than a lease, two workers", strikes.outlast_leases, _slower_than_leases, spends=False),
]
