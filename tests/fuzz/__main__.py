"""Runs the fuzzer and prints its tables. Exit 1 where anything failed, leaked or grew.

Run: python -m tests.fuzz [--inputs 50000] [--seed N] [--write FILE]
"""

from __future__ import annotations

import argparse
import datetime as dt
import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from devstack.stack.postgres import Postgres
from devstack.stack.rabbitmq import RabbitMQ
from superstoryboard.db.migrate import migrate
from tests.e2e.pipeline import KV
from tests.fuzz.report import document, verdict
from tests.fuzz.run import fuzz, fuzzed_pipeline

INPUTS = 50_000
SHOWN = 30


def main() -> int:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--write", type=Path, help="a file for the page with the tables")
    options = parser.parse_args()
    _say(f"seed {options.seed}")
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory(prefix=name))) for name in ("pg-", "mq-", "fuzz-")]
        rabbitmq = stack.enter_context(RabbitMQ(folders[1]))
        postgres = stack.enter_context(Postgres(folders[0], settings={"fsync": "off", "max_connections": "200"}))
        migrate(postgres.url, kv_table=KV)
        world = stack.enter_context(fuzzed_pipeline(postgres.url, folders[2], rabbitmq.url))
        tally, memory = fuzz(world, options.seed, options.inputs, _say)
    page = document(tally, memory, options.seed, dt.datetime.now(dt.UTC).date().isoformat())
    _say(page)
    for line in [*tally.leaks[:SHOWN], *tally.broken[:SHOWN]]:
        _say(f"- {line}")
    if options.write:
        options.write.write_text(page)
    return int(any(not line.startswith("ok") for line in verdict(tally, memory)))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
