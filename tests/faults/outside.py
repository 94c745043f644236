"""What the matrix counts without asking the system that promises: Google's journal, Storage's log and its bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.pipeline import Pipeline
from tests.emulators import google_fixture
from tests.emulators.storage_fixture import STAGING_BUCKET

KINDS = {"image": "image", "submit": "video"}
FETCH_SECONDS = 60.0
_STAGED_OBJECT = re.compile(
    rf"/object/(?:authenticated/)?{STAGING_BUCKET}/([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})/"
)


@dataclass
class Paid:
    """What Google was asked for one prompt: calls that it accepted and what it gave out.

    `answered`: accepted calls that were answered with media (images) or a name (videos). `operations`: the names.
    `given`: SHA-256 of the media given out. `last`: Unix time of the last accepted call.
    """

    kind: str
    accepted: int = 0
    answered: int = 0
    last: float = 0.0
    operations: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)


def paid_calls(running: Pipeline) -> dict[str, Paid]:
    """Google's own account since its last reset, by prompt."""
    calls: dict[str, Paid] = {}
    rows = google_fixture.report(running.google)["requests"]
    for row in rows:
        if row["accepted"]:
            paid = calls.setdefault(row["prompt"], Paid(KINDS[row["on"]]))
            _count(paid, row)
    for row in rows:
        if row["on"] == "download" and row["prompt"] in calls and "sha256" in row:
            calls[row["prompt"]].given.add(row["sha256"])
    return calls


def _count(paid: Paid, row: dict[str, Any]) -> None:
    paid.accepted += 1
    paid.last = max(paid.last, row["time"])
    if paid.kind == "video":
        paid.operations.add(row["operation"])
        paid.answered += row["status"] == 200
    elif row["status"] == 200 and "sha256" in row:
        paid.given.add(row["sha256"])
        paid.answered += 1


def google_rows(running: Pipeline) -> list[dict[str, Any]]:
    """The requests that Google has had since its last reset."""
    rows: list[dict[str, Any]] = google_fixture.report(running.google)["requests"]
    return rows


def storage_rows(running: Pipeline) -> list[dict[str, Any]]:
    """The requests that Storage has had since its last reset."""
    answer = httpx.get(f"{running.storage_url}/_emulator/requests", timeout=FETCH_SECONDS, trust_env=False)
    rows: list[dict[str, Any]] = answer.raise_for_status().json()["requests"]
    return rows


def first_staged(running: Pipeline) -> dict[str, float]:
    """Unix time at which Storage had first taken bytes of a job into staging, by job id."""
    times: dict[str, float] = {}
    for row in storage_rows(running):
        if (row["on"], row["status"]) == ("upload", 200):
            times.setdefault(staged_job(row["path"]), row["time"])
    return times


def staged_job(path: str) -> str:
    """The job whose bytes lie under this path of staging; empty for every other path."""
    match = _STAGED_OBJECT.search(path)
    return match[1] if match else ""


def hashes_of(urls: Iterable[str]) -> dict[str, str]:
    """SHA-256 of what anyone gets under these URLs; empty where Storage does not give it."""
    with httpx.Client(timeout=FETCH_SECONDS, trust_env=False) as client:
        return {url: _hash(client, url) for url in set(urls)}


def _hash(client: httpx.Client, url: str) -> str:
    try:
        answer = client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL):
        return ""
    return hashlib.sha256(answer.content).hexdigest() if answer.status_code == 200 else ""


def statuses_of(rows: list[dict[str, Any]], on: str, statuses: tuple[int | None, ...]) -> int:
    """How many requests of one sort were answered with one of these."""
    return len([row for row in rows if on in ("any", row["on"]) and row["status"] in statuses])
