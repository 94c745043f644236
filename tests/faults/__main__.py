"""Runs the matrix and its broken variants, and prints the tables.

Exit 1 where anything was lost, doubled or paid twice, where a fault never struck, or where a broken variant was not
noticed.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from functools import partial

from tests.faults.race import race_once
from tests.faults.report import HEAD, REPORT, VARIANT_HEAD, cells, document, total
from tests.faults.rows import ROWS
from tests.faults.run import Result, Runner
from tests.faults.variants import RACE, VARIANTS, Variant
from tests.faults.world import LEASE_SECONDS, world

VARIANT_IMAGES, VARIANT_VIDEOS = 9, 3
VARIANT_PATIENCE_SECONDS = 5.0
RACE_SECONDS = 10.0
NO_NOTICE = ("broke:", "open:", "not run", "stopping")
"""What tells of trouble with the row itself, not of what was broken."""


def run_matrix(seed: int, images: int, videos: int, only: str) -> list[Result]:
    """Run the rows; in one world as long as nothing goes wrong."""
    runner = Runner(partial(world, seed), images, videos)
    results = []
    for row in ROWS:
        if only in row.name:
            results.append(runner.run(row))
            _say(cells(results[-1]))
    trouble = runner.close()
    if trouble:
        _say(["stopping everything", trouble])
        results.append(Result(ROWS[0], None, [f"stopping everything: {trouble}"]))
    return results


def run_variant(variant: Variant, seed: int) -> list[str]:
    """Run the variant's row in a world of its own, or the race; answers what went wrong, which must be something."""
    if variant.row == RACE:
        violations = race_once(seconds=RACE_SECONDS, seed=seed, prepare=variant.apply).violations
        return [f"{len(violations)} violations, such as: {violations[0]}"] if violations else []
    row = next(row for row in ROWS if row.name == variant.row)
    wrapper = ("tests.faults.broken", variant.python) if variant.python else ()
    start = partial(world, seed, wrapper, variant.apply)
    runner = Runner(start, VARIANT_IMAGES, VARIANT_VIDEOS, VARIANT_PATIENCE_SECONDS, controlled=False)
    wrong = runner.run(row).wrong
    trouble = runner.close()
    return wrong + ([f"stopping everything: {trouble}"] if trouble else [])


def run_variants(seed: int, only: str) -> tuple[list[list[str]], bool]:
    """Run the variants; answers the table and whether each was noticed."""
    table: list[list[str]] = []
    good = True
    for variant in VARIANTS:
        if only not in variant.name and only != variant.invariant:
            continue
        endings = run_variant(variant, seed)
        noticed = [text for text in endings if not text.startswith(NO_NOTICE)]
        good = good and bool(noticed)
        table.append([variant.invariant, variant.name, variant.row, ", ".join(noticed or ["NOTHING", *endings])])
        _say(table[-1])
    return table, good


def _say(row: list[str]) -> None:
    sys.stdout.write(" | ".join(row) + "\n")
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
    results: list[Result] = []
    variants: list[list[str]] = []
    noticed = True
    if options.part != "variants":
        _say([f"seed {options.seed}"])
        _say(list(HEAD))
        results = run_matrix(options.seed, options.jobs - videos, videos, options.only)
        _say([total(results)])
    if options.part != "rows":
        _say(list(VARIANT_HEAD))
        variants, noticed = run_variants(options.seed, options.only)
    if options.write:
        page = document(results, variants, seed=options.seed, jobs=options.jobs, lease_seconds=LEASE_SECONDS)
        REPORT.write_text(page)
    sys.exit(0 if noticed and not any(result.wrong for result in results) else 1)


if __name__ == "__main__":
    main()
