"""Runs the matrix and prints its table; exit 1 where anything was lost, doubled or paid twice."""

from __future__ import annotations

import argparse
import secrets
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.account import Account, account, open_jobs
from tests.faults.rows import ROWS, Row
from tests.faults.world import World, world

REPORT = Path(__file__).resolve().parents[2] / "docs" / "FAULTS.md"
ROW_SECONDS = 90.0
HEAD = (
    "fault | jobs | succeeded | dead letters | cancelled | lost | assets | doubled links | accepted calls"
    " | unknown outcomes | second payments | seconds to recover"
)


def run_row(running: World, number: int, row: Row, images: int, videos: int) -> Account:
    """Submit the jobs, break the thing, wait for the end, and count."""
    running.row = f"row-{number}"
    scenes = [{"id": f"s{place}"} for place in range(images + videos)]
    running.running.put(f"storyboard:{running.row}", {"scenes": scenes})
    running.running.google.post("/_emulator/reset").raise_for_status()
    file = running.arm(row.service, row.step) if row.step else None
    row.before(running)
    submitting = threading.Thread(target=_submit, args=(running, images, videos))
    submitting.start()
    row.during(running)
    if file is not None:
        running.kill_armed(row.service, file)
    healed = time.monotonic()
    submitting.join()
    deadline = healed + ROW_SECONDS
    while open_jobs(running) and time.monotonic() < deadline:
        running.wait(0.1)
    return account(running, images + videos, time.monotonic() - healed)


def _submit(running: World, images: int, videos: int) -> None:
    for place in range(images + videos):
        running.submit(place, video=place >= images)


def line(row: Row, counts: Account) -> str:
    """A row of the table."""
    dead = ", ".join(f"{code} {count}" for code, count in sorted(counts.dead.items())) or "0"
    values = (
        row.name,
        counts.accepted,
        counts.succeeded,
        dead,
        counts.cancelled,
        counts.lost,
        counts.assets,
        counts.doubled,
        counts.calls,
        counts.unknown,
        counts.second_payments,
        f"{counts.seconds:.1f}",
    )
    return " | ".join(map(str, values))


def document(lines: list[str], seed: int, jobs: int) -> str:
    """The table as a page."""
    head = f"| {HEAD} |\n|{' --- |' * len(HEAD.split(' | '))}"
    body = "\n".join(f"| {text} |" for text in lines)
    return (
        "# Faults\n\nReal processes on a real Postgres and RabbitMQ, against emulators that count every call that they"
        f" accept. Each row: {jobs} jobs, three quarters images and the rest videos, while one thing breaks."
        " A call of an image whose outcome stayed unknown may be repeated and is counted beside; a video is never"
        " repeated by itself.\n\n"
        f"Command: `make faults` · {datetime.now(UTC):%Y-%m-%d} · seed {seed}\n\n{head}\n{body}\n"
    )


def main() -> None:
    """Run the rows that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n{HEAD}\n")
    videos = options.jobs // 4
    lines: list[str] = []
    good = True
    with world(options.seed) as running:
        for number, row in enumerate(ROWS):
            if options.only not in row.name:
                continue
            counts = run_row(running, number, row, options.jobs - videos, videos)
            lines.append(line(row, counts))
            good = good and counts.good
            sys.stdout.write(lines[-1] + ("" if counts.good else "   <-- WRONG") + "\n")
            sys.stdout.flush()
    if options.write:
        REPORT.write_text(document(lines, options.seed, options.jobs))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
