"""What strangers cost a good caller: 200 connections without a token beside CreateImageJob, one run.

Run: python -m benchmarks.hostile [--connections 200] [--seconds 6]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.accept import KV_TABLE, WARM_UP_SECONDS, Measured, Metadata, round_of
from devstack.stack.postgres import Postgres
from superstoryboard.db.migrate import migrate
from tests.hostile import KIBIBYTE, HostileCallers
from tests.running import Service, bearer, running, token

TARGET = 1.5
TARGET_KIBIBYTES = 128
ROUNDS = 3
CALLERS = 8
LONGEST_SECONDS = 60.0


@dataclass
class Cost:
    """Good calls of one sort of round, and the processor time of ingest meanwhile."""

    good: Measured
    cpu_seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def per_call(self) -> float:
        """Milliseconds of ingest's processor for each good call."""
        return self.cpu_seconds / len(self.good.latencies) * 1000


@contextmanager
def calling_each_second(hostile: HostileCallers, connections: int) -> Iterator[None]:
    """One call a second of every connection, in turn."""
    ended = threading.Event()

    def call() -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            hostile.call_next()
            due += 1 / connections

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def round_with(service: Service, cost: Cost, seconds: float, metadata: Metadata) -> None:
    """Good calls for a while."""
    process = psutil.Process(service.pid)
    before = process.cpu_times()
    asyncio.run(round_of(cost.good, CALLERS, seconds, metadata))
    after = process.cpu_times()
    cost.cpu_seconds += after.user + after.system - before.user - before.system


def measure(connections: int, seconds: float) -> tuple[Cost, Cost, float]:
    """Calm and hostile rounds in turn; the last is KiB of memory for each hostile connection."""
    metadata = bearer(token())
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, Postgres(Path(name) / "postgres") as postgres:
        migrate(postgres.url, kv_table=KV_TABLE)
        with running("ingest", {"DATABASE_URL": postgres.url}, Path(name) / "log") as service:
            calm, attacked = (Cost(Measured(title, service.address)) for title in ("alone", "beside strangers"))
            round_with(service, Cost(Measured("warm-up", service.address)), WARM_UP_SECONDS, metadata)
            with HostileCallers(service.address, service.pid, connections) as hostile:
                hostile.call_each()
                kibibytes = hostile.memory_each() / KIBIBYTE
                for _ in range(ROUNDS):
                    round_with(service, calm, seconds / ROUNDS, metadata)
                    with calling_each_second(hostile, connections):
                        round_with(service, attacked, seconds / ROUNDS, metadata)
                attacked.answers = dict(hostile.answers)
    return calm, attacked, kibibytes


def table_of(costs: tuple[Cost, Cost], connections: int) -> Table:
    """A row per sort of round."""
    table = Table(title=f"CreateImageJob, {CALLERS} callers, {connections} strangers at one call a second each")
    for column in ("rounds", "calls", "ingest's CPU ms a call", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "rounds" else "right")
    for cost in costs:
        good = cost.good
        numbers = (f"{cost.per_call:.2f}", f"{good.percentile(50):.1f}", f"{good.percentile(99):.1f}")
        table.add_row(good.name, str(len(good.latencies)), *numbers)
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=200, choices=range(1, 1001), metavar="N")
    parser.add_argument("--seconds", type=float, default=6.0, metavar="S", help="time for each sort of round")
    options = parser.parse_args()
    if not 0.3 <= options.seconds <= LONGEST_SECONDS:
        parser.error(f"--seconds must be from 0.3 to {LONGEST_SECONDS:g}")
    calm, attacked, kibibytes = measure(options.connections, options.seconds)
    console = Console()
    console.print(table_of((calm, attacked), options.connections))
    console.print(f"strangers were answered: {attacked.answers}")
    console.print(f"memory for each of them: {kibibytes:.0f} KiB (wanted: at most {TARGET_KIBIBYTES})")
    console.print(f"ratio {attacked.per_call / calm.per_call:.2f} (wanted: at most {TARGET})")


if __name__ == "__main__":
    main()
