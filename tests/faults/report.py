"""The tables of the matrix as a page: docs/FAULTS.md."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.faults.account import Account, KindCounts
from tests.faults.run import Result

REPORT = Path(__file__).resolve().parents[2] / "docs" / "FAULTS.md"
KIND_HEAD = ("paid", "stored", "paid per finished", "paid, not stored", "unknown outcomes")
HEAD = (
    "fault",
    "jobs",
    "succeeded",
    "dead letters",
    "cancelled",
    "lost",
    "doubled",
    *(f"images: {name}" for name in KIND_HEAD),
    "images: good answers discarded",
    *(f"videos: {name}" for name in KIND_HEAD),
    "names lost",
    "names found",
    "second payments",
    "wrong objects or links",
    "leaks",
    "seconds to recover",
    "allowed",
    "struck nothing",
    "result",
)
VARIANT_HEAD = ("invariant", "broken on purpose", "row", "noticed by")
PAGE = """# Faults

Real processes on a real Postgres and RabbitMQ, against emulators of Google and Supabase Storage. Each row: {jobs} jobs,
three quarters images and the rest videos, while one thing breaks. Leases are {lease_seconds} s long. In every row an
older job of a scene ends after a newer one and must not be shown.

No count relies on the system's own records: paid calls are those in the emulator's own journal, every asset
is fetched over HTTP and its SHA-256 compared with the database and with what Google gave out, and so is every link of
the kv rows.

Command: `make faults` · {date} · seed {seed}

{rows}

- **paid**: calls that Google accepted, whether or not their response arrived
- **stored**: assets whose object exists and is correct
- **paid, not stored**: accepted calls of jobs that ended without an asset, as a dead letter or cancelled
- **unknown outcomes**: calls that the ledger shows as possibly charged; a video is never repeated after one, an image
  is
- **good answers discarded**: pictures beyond the first of a job, lost with the process that held them
- **names lost**: operations of Google whose names the ledger does not have; **found**: those that a search brought back
- **second payments**: accepted calls of a video beyond the first; repeated calls of an image whose first call
  succeeded in a process that survived, or got no response and is not shown as unknown, or whose bytes were already in
  Storage; calls for which there is no job
- **lost**: jobs that did not end, ended FAILED, or ended without their asset, link or archived message
- **doubled**: jobs that nobody asked for or that succeeded twice
- **leaks**: jobs shown to another user, and secrets in a log
- **seconds to recover**: from the end of the fault until the last job that had been started by then has ended;
  **allowed**: what follows from the leases, and twice what the same jobs took without a fault in the same minute
- **struck nothing**: how often all jobs had ended before the fault; such a run is not counted and is repeated

What some rows show:

- **staging answers 413, 415**: once it is mended, all dead letters are redriven without agreeing to a second payment.
  Videos are fetched again from Google. A picture that a worker gave up was in its memory alone: the redrive finds
  nothing of it in staging, and it stays a dead letter, PAID_RESULT_LOST.
- **kill -9 image_worker while staging is away**: what the first worker held dies with it, at most one picture for each
  of its five places. Those who start later prove staging before they take a job: no further restart costs a picture.
- **Veo**: the videos of all rows are Veo's on the Gemini API, which lists operations, so a name that was lost can be
  found again: also that of a submit which Google accepted and answered in an unknown shape. Of two lost submits each
  is found unless nothing that the list shows tells them apart.

{total}

## Broken on purpose

One line is broken, and the row must go wrong:

{variants}
"""


def cells(result: Result) -> list[str]:
    """A row of the table."""
    outcome = "; ".join(result.wrong) or "ok"
    counts = result.counts
    if counts is None:
        return [result.row.name, *("-" for _ in HEAD[1:-2]), str(result.repeats), outcome]
    dead = ", ".join(f"{code} {count}" for (_, code), count in sorted(counts.dead.items())) or "0"
    values = (
        result.row.name,
        counts.jobs,
        counts.succeeded,
        dead,
        counts.cancelled,
        counts.lost,
        counts.doubled,
        *_kind(counts.images),
        counts.images.discarded,
        *_kind(counts.videos),
        counts.names_lost,
        counts.names_found,
        result.second_payments,
        counts.wrong_bytes + counts.wrong_links,
        counts.leaks,
        f"{counts.seconds:.1f}",
        f"{result.bound:.0f}",
        result.repeats,
        outcome,
    )
    return [str(value) for value in values]


def _kind(counts: KindCounts) -> tuple[object, ...]:
    return counts.paid, counts.stored, counts.ratio, counts.wasted, counts.unknown


def total(results: list[Result]) -> str:
    """What all rows together paid, in two sentences."""
    accounts = [result.counts for result in results if result.counts is not None]
    return " ".join(f"All rows: {_sum(accounts, kind)}." for kind in ("images", "videos")) + (
        f" Second payments: {sum(each.second_payments for each in results)}."
        f" Operation names lost: {sum(each.names_lost for each in accounts)},"
        f" found again: {sum(each.names_found for each in accounts)}."
    )


def _sum(accounts: list[Account], kind: str) -> str:
    kinds: list[KindCounts] = [getattr(each, kind) for each in accounts]
    paid, stored = sum(each.paid for each in kinds), sum(each.stored for each in kinds)
    unknown, wasted = sum(each.unknown for each in kinds), sum(each.wasted for each in kinds)
    ratio = KindCounts(paid, stored).ratio
    beside = f"{unknown} of unknown outcome, {wasted} paid and not stored"
    return f"{paid} paid for {stored} finished {kind} ({ratio}), {beside}"


def document(results: list[Result], variants: list[list[str]], *, seed: int, jobs: int, lease_seconds: int) -> str:
    """The whole page."""
    return PAGE.format(
        jobs=jobs,
        lease_seconds=lease_seconds,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        seed=seed,
        rows=_table(HEAD, [cells(result) for result in results]),
        total=total(results),
        variants=_table(VARIANT_HEAD, variants),
    )


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
