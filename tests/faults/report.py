"""The tables of the matrix as a page: docs/FAULTS.md."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.faults.account import Account
from tests.faults.rows import Row

REPORT = Path(__file__).resolve().parents[2] / "docs" / "FAULTS.md"
HEAD = (
    "fault",
    "jobs",
    "succeeded",
    "dead letters",
    "cancelled",
    "lost",
    "assets",
    "doubled",
    "accepted calls",
    "unknown outcomes",
    "second payments",
    "leaks",
    "seconds to recover",
)
VARIANT_HEAD = ("invariant", "broken on purpose", "row", "noticed by")
PAGE = """# Faults

Real processes on a real Postgres and RabbitMQ, against emulators that count every call that they accept. Each row:
{jobs} jobs, three quarters images and the rest videos, while one thing breaks. Leases are {lease_seconds} s long.
A call of an image whose outcome stayed unknown may be repeated and is counted beside; a video is never repeated by
itself. In every row an older job of a scene ends after a newer one and must not be shown.

Command: `make faults` · {date} · seed {seed}

{rows}

- **lost**: jobs that did not end, ended FAILED, or ended without their asset, link or archived message
- **doubled**: jobs that nobody asked for or that succeeded twice, and scenes that show another result than the newest
- **second payments**: accepted calls beyond the first of a job
- **leaks**: jobs shown to another user, and secrets in a log
- **seconds to recover**: from the end of the fault until the last job that had been started by then has ended

## Broken on purpose

One line is broken, and the row must go wrong:

{variants}
"""


def cells(row: Row, counts: Account) -> list[str]:
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
        counts.leaks,
        f"{counts.seconds:.1f}",
    )
    return [str(value) for value in values]


def document(rows: list[list[str]], variants: list[list[str]], *, seed: int, jobs: int, lease_seconds: int) -> str:
    """The whole page."""
    return PAGE.format(
        jobs=jobs,
        lease_seconds=lease_seconds,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        seed=seed,
        rows=_table(HEAD, rows),
        variants=_table(VARIANT_HEAD, variants),
    )


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
