"""Runs the matrix and its broken variants, and prints the tables.

Exit 1 where anything was lost, doubled or paid twice, or where a broken variant was not noticed.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import threading
import time
from dataclasses import replace

from tests.faults.account import Account, account, open_jobs
from tests.faults.report import HEAD, REPORT, VARIANT_HEAD, cells, document
from tests.faults.rows import LEASE_SECONDS, ROWS, Row
from tests.faults.variants import VARIANTS, Variant
from tests.faults.world import World, world

RECOVERY_SECONDS = LEASE_SECONDS + 10
VARIANT_IMAGES, VARIANT_VIDEOS = 9, 3
VARIANT_PATIENCE_SECONDS = 20.0


def run_row(running: World, number: int, row: Row, images: int, videos: int) -> Account:
    """Submit the jobs, break the thing, wait for the end, and count.

    The first image is scheduled for a moment later and the last one is of the same scene: so in every row an older
    job ends after a newer one.
    """
    running.row = f"row-{number}"
    images, videos = int(images * row.factor), int(videos * row.factor)
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
    healed = running.now()
    submitting.join()
    deadline = time.monotonic() + row.patience_seconds
    while open_jobs(running) and time.monotonic() < deadline:
        running.wait(0.1)
    return account(running, images + videos, healed)


def _submit(running: World, images: int, videos: int) -> None:
    for place in range(images + videos):
        scene = 0 if place == images - 1 else place
        running.submit(place, scene, video=place >= images, delay_seconds=3 if place == 0 else 0)


def faults_of(row: Row, counts: Account) -> list[str]:
    """What is wrong with the counts of a row."""
    found = counts.faults
    found += [f"dead letter {code}" for code in counts.dead if code not in row.dead]
    return found + ([f"{counts.spent} attempts spent"] if counts.spent and not row.spends else [])


def run_matrix(seed: int, images: int, videos: int, only: str) -> tuple[list[list[str]], bool]:
    """Run the rows in one world; answers the table and whether all went well."""
    table: list[list[str]] = []
    good = True
    with world(seed) as running:
        for number, row in enumerate(ROWS):
            if only not in row.name:
                continue
            counts = run_row(running, number, row, images, videos)
            wrong = faults_of(row, counts)
            if row.name.startswith("kill") and row.factor == 1 and counts.seconds > RECOVERY_SECONDS:
                wrong.append(f"recovered after more than {RECOVERY_SECONDS} s")
            good = good and not wrong
            table.append(cells(row, counts))
            _say(table[-1], wrong)
    return table, good


def run_variant(variant: Variant, seed: int) -> list[str]:
    """Run the variant's row in a world of its own; answers what went wrong, which must be something."""
    number, row = next((number, row) for number, row in enumerate(ROWS) if row.name == variant.row)
    hasty = replace(row, patience_seconds=VARIANT_PATIENCE_SECONDS)
    wrapper = ("tests.faults.broken", variant.python) if variant.python else ()
    noticed: list[str] = []
    try:
        with world(seed, wrapper, variant.apply) as running:
            noticed = faults_of(row, run_row(running, number, hasty, VARIANT_IMAGES, VARIANT_VIDEOS))
    except AssertionError:  # of a process that does not go on, and so does not stop in order either
        noticed.append("a process ended")
    return noticed


def run_variants(seed: int, only: str) -> tuple[list[list[str]], bool]:
    """Run the variants; answers the table and whether each was noticed."""
    table: list[list[str]] = []
    good = True
    for variant in VARIANTS:
        if only not in variant.name and only != variant.invariant:
            continue
        noticed = run_variant(variant, seed)
        good = good and bool(noticed)
        table.append([variant.invariant, variant.name, variant.row, ", ".join(noticed) or "no"])
        _say(table[-1], [] if noticed else ["not noticed"])
    return table, good


def _say(row: list[str], wrong: list[str]) -> None:
    sys.stdout.write(" | ".join(row) + (f"   <-- WRONG: {', '.join(wrong)}" if wrong else "") + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--only", default="", help="rows and variants whose name holds this text")
    parser.add_argument("--part", choices=("rows", "variants"), help="only the matrix, or only the broken variants")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    videos = options.jobs // 4
    rows: list[list[str]] = []
    variants: list[list[str]] = []
    good = noticed = True
    if options.part != "variants":
        sys.stdout.write(f"seed {options.seed}\n{' | '.join(HEAD)}\n")
        rows, good = run_matrix(options.seed, options.jobs - videos, videos, options.only)
    if options.part != "rows":
        sys.stdout.write(f"\n{' | '.join(VARIANT_HEAD)}\n")
        variants, noticed = run_variants(options.seed, options.only)
    if options.write:
        REPORT.write_text(document(rows, variants, seed=options.seed, jobs=options.jobs, lease_seconds=LEASE_SECONDS))
    sys.exit(0 if good and noticed else 1)


if __name__ == "__main__":
    main()
