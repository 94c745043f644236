"""All transitions at once on a few jobs; and the same race on databases with one thing broken, which must be seen."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import psycopg
import pytest

from devstack.stack.postgres import Postgres
from tests.conftest import TEMPLATE, admin
from tests.faults.race import race
from tests.faults.variants import change

RACE_SECONDS = 8.0
BROKEN_SECONDS = 3.0

UNUSED = {("QUEUED", "FAILED"), ("RETRYING", "FAILED")}
"""Moves of a job that are legal and that nothing makes (docs/STATES.md)."""

LEDGER_AND_ARTIFACTS = {
    "call INTENT",
    "call INTENT -> ACCEPTED",
    "call INTENT -> SETTLED",
    "call INTENT -> UNKNOWN",
    "call ACCEPTED -> SETTLED",
    "call SETTLED -> ACCEPTED",
    "call UNKNOWN -> ACCEPTED",
    "artifact UPLOADING",
    "artifact UPLOADING -> STAGED",
    "artifact UPLOADING -> DISCARDED",
    "artifact STAGED -> WRITTEN",
    "artifact STAGED -> DISCARDED",
}

WON = {
    "accept",
    "send",
    "claim",
    "claim: resumed",
    "extend",
    "report",
    "release",
    "freeze",
    "open",
    "keep_name",
    "late_name",
    "settle_unpaid",
    "settle_paid",
    "lose",
    "begin",
    "stage: STAGED",
    "retry: RETRYING",
    "bury: DEAD_LETTERED",
    "lease",
    "extend_artifact",
    "finish",
    "give_back",
    "bury_artifact",
    "clean",
    "cancel",
    "start_again: NEW_CALL",
    "start_again_paying: NEW_CALL",
    "redrive",
    "redrive_paying",
    "redrive_edited",
    "discard",
    "pause",
    "resume",
    "sweep: cancel_removed",
    "remove",
    "preview",
    "move_visibility",
    "hold_locks",
    "expire",
}

BROKEN = {
    "a lease that is extended for whoever asks": (
        [
            (
                "extend_leases_v1",
                "on t.job = asked.job and t.claim = asked.claim\n    ), free",
                "on t.job = asked.job\n    ), free",
            ),
        ],
        "a stale lease",
    ),
    "a release by whoever held the job before": (
        [("lock_claimed", " or job.claim <> p_claim", "")],
        "stale claim",
    ),
    "a submit that was cut is sent again": (
        [
            (
                "take_message",
                "if call.shape = 'OPERATION' and call.state = 'INTENT' and not work.searched then",
                "if false then",
            ),
            ("call_refused", "c.shape = 'OPERATION'", "false"),
        ],
        "no call follows one that was or may have been paid",
    ),
    "the first of two jobs keeps the entity": (
        [("take_entity", "(l.rank, l.job_id) <= (", "(l.rank, l.job_id) >= (")],
        "an entity is linked to the last job",
    ),
    "an answer that is handed over although its place was given up": (
        [
            ("begin_artifacts_v1", "state = 'UPLOADING' and call_id is not null", "call_id is not null"),
            ("begin_artifacts_v1", "results <> cardinality(begun) or ", ""),
            ("stage_artifacts_v1", "made.state = 'DISCARDED' or ", ""),
            ("stage_artifacts_v1", " and state = 'UPLOADING'", ""),
        ],
        "calls and artifacts move",
    ),
}


# Too rare to be met in every race: tests/e2e/test_paid_once_cuts.py shows it.
RARE = {("CANCELLED", "STAGED")}


async def test_nothing_is_lost_doubled_or_paid_twice_whoever_races(
    database_url: str, sql: psycopg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(1_000_000)
    with capsys.disabled():
        print(f" seed {seed}", end="")  # noqa: T201 - to race it again: python -m tests.faults.race --seed
    report = await race(database_url, seconds=RACE_SECONDS, seed=seed)
    print(report.text())  # noqa: T201 - shown where the test fails
    assert report.violations == []
    legal = set(sql.execute("select from_state, to_state from superstoryboard.job_moves").fetchall()) - UNUSED - RARE
    moves = {f"job {was} -> {now}" for was, now in legal} | LEDGER_AND_ARTIFACTS
    assert moves - set(report.moves) == set(), "never happened, so the race shows nothing about it"
    assert WON - set(report.won) == set(), "never happened, so the race shows nothing about it"


@pytest.fixture
def fresh(postgres: Postgres) -> Iterator[Callable[[], str]]:
    """Makes a database of its own for each race."""
    names: list[str] = []

    def make() -> str:
        names.append(f"race_{len(names)}")
        admin(postgres, f"create database {names[-1]} template {TEMPLATE}")
        return postgres.url_of(names[-1])

    yield make
    for name in names:
        admin(postgres, f"drop database {name} with (force)")


@pytest.mark.parametrize("broken", BROKEN)
async def test_the_race_sees(broken: str, fresh: Callable[[], str]) -> None:
    """Chance decides what meets what: one race of three must see it."""
    changes, symptom = BROKEN[broken]
    report = None
    for seed in (2, 3, 4):
        url = fresh()
        with psycopg.connect(url, autocommit=True) as sql:
            for function, right, wrong in changes:
                change(sql, function, right, wrong)
        report = await race(url, seconds=BROKEN_SECONDS, seed=seed)
        if any(violation.startswith(symptom) for violation in report.violations):
            return
    raise AssertionError(report and report.text())
