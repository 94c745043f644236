"""What fair turns cost: claims and accepts beside those in the order of the sends, at a depth and at a twentieth of it.

Run: python -m benchmarks.claims [--waiting 100000] [--owners 1000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import LiteralString

import psycopg
from rich.console import Console
from rich.table import Table

from devstack.stack.postgres import Postgres
from superstoryboard.db.migrate import migrate

KV_TABLE = "kv_store_7ee7668a"
IN_ORDER = Path(__file__).with_name("claims_in_order.sql")
ROUNDS = 5
CALLS = 40
"""Of each worker in a round."""
WORKERS = 8
QUANTITY = 5

FILL: tuple[LiteralString, ...] = (
    "set session_replication_role = replica",
    """
    insert into superstoryboard.jobs (id, kind, owner, generation, model, queue, msg_id, enqueued_at, rank)
    select md5(n::text)::uuid, 'image', 'owner-' || n % %(owners)s, '{}', 'm', 'image_generation_queue', n, now(), n
    from generate_series(1, %(waiting)s) n
    """,
    """
    insert into superstoryboard.turns (job, queue, kind, model, owner, priority, rank, due_at, ready, turn)
    select id, queue, kind, model, owner, msg_id / %(owners)s % 3 - 1, rank, now(), true, 1 + msg_id / %(owners)s
    from superstoryboard.jobs
    """,
    """
    insert into pgmq.q_image_generation_queue (msg_id, vt, enqueued_at, message) overriding system value
    select msg_id, enqueued_at, enqueued_at, '{}' from superstoryboard.jobs
    """,
    "select setval('pgmq.q_image_generation_queue_msg_id_seq', %(waiting)s)",
    "update superstoryboard.queues set adopted_msg_id = %(waiting)s",
    "analyze superstoryboard.jobs, superstoryboard.turns, pgmq.q_image_generation_queue",
)
CLAIM: LiteralString = (
    "select * from superstoryboard.claim_jobs_v1("
    "'image_generation_queue', '{image}', 'w', %(quantity)s, 60, false, 'google', 'm',"
    " row(0, 0, 0)::superstoryboard.gate_limits, '{}')"
)
ACCEPT: LiteralString = """
select * from superstoryboard.accept_jobs_v1(jsonb_build_array(jsonb_build_object(
  'index', 0, 'id', gen_random_uuid(), 'kind', 'image', 'owner', 'owner-1', 'submit_hash', 'h', 'provider', 'g',
  'model', 'm', 'generation', jsonb_build_object('storyboardId', 'b'), 'labels', jsonb_build_object(),
  'traceparent', '', 'warnings', jsonb_build_array())))
"""


@dataclass
class Measured:
    """Calls a second of one statement on one database, a number for each round."""

    name: str
    url: str
    statement: LiteralString
    workers: int
    rates: list[float] = field(default_factory=list)

    def run(self) -> None:
        """One round."""
        with ThreadPoolExecutor(self.workers) as pool:
            started = time.monotonic()
            for worker in [pool.submit(self._calls) for _ in range(self.workers)]:
                worker.result()
        self.rates.append(self.workers * CALLS / (time.monotonic() - started))

    def _calls(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as sql:
            for _ in range(CALLS):
                sql.execute(self.statement, {"quantity": QUANTITY})


def fill(postgres: Postgres, name: str, waiting: int, owners: int, *, fair: bool) -> str:
    """A database with so many waiting jobs; answers its URL."""
    url = postgres.url_of(name)
    with psycopg.connect(postgres.url, autocommit=True) as sql:
        sql.execute(f"create database {name}")
    migrate(url, kv_table=KV_TABLE)
    with psycopg.connect(url, autocommit=True) as sql:
        for statement in FILL:
            text = statement.replace("%(owners)s", str(owners)).replace("%(waiting)s", str(waiting))
            sql.execute(text)
        if not fair:
            sql.execute(IN_ORDER.read_text())
        sql.execute("vacuum analyze superstoryboard.turns")
    return url


def measure(waiting: int, owners: int) -> list[tuple[str, Measured, Measured]]:
    """Pairs of what is measured in turn, so that a slow moment hits both."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, Postgres(Path(folder) / "postgres") as postgres:
        fair = fill(postgres, "fair", waiting, owners, fair=True)
        order = fill(postgres, "in_order", waiting, owners, fair=False)
        small = fill(postgres, "small", max(waiting // 20, 5000), owners, fair=True)
        pairs = [
            (
                f"claims of {QUANTITY}, one worker",
                Measured("fair", fair, CLAIM, 1),
                Measured("in order", order, CLAIM, 1),
            ),
            (
                f"claims of {QUANTITY}, {WORKERS} workers",
                Measured("fair", fair, CLAIM, WORKERS),
                Measured("in order", order, CLAIM, WORKERS),
            ),
            ("claims, deep and shallow", Measured("deep", fair, CLAIM, 1), Measured("shallow", small, CLAIM, 1)),
            (
                f"accepts of one owner, {WORKERS} callers",
                Measured("fair", fair, ACCEPT, WORKERS),
                Measured("in order", order, ACCEPT, WORKERS),
            ),
        ]
        for _, one, other in pairs:
            for _ in range(ROUNDS):
                one.run()
                other.run()
    return pairs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--waiting", type=int, default=100_000, metavar="N", help="jobs that wait")
    parser.add_argument("--owners", type=int, default=1000, metavar="N", help="owners who have them")
    options = parser.parse_args()
    table = Table(title=f"{options.waiting} waiting jobs of {options.owners} owners, calls a second")
    for column in ("what", "one", "calls/s", "other", "calls/s", "ratio"):
        table.add_column(column)
    for name, one, other in measure(options.waiting, options.owners):
        ours, theirs = median(one.rates), median(other.rates)
        table.add_row(name, one.name, f"{ours:.0f}", other.name, f"{theirs:.0f}", f"{ours / theirs:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
