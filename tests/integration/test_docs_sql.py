"""Every SQL statement that the documents show runs on a real database."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sql\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", ["README.md", "docs/RUNBOOK.md", "docs/STAGING-KEY.md"])
def test_statements_of_the_documents_run(name: str, sql: psycopg.Connection) -> None:
    blocks = BLOCK.findall((ROOT / name).read_text())
    assert blocks
    for block in blocks:
        # As one script in one transaction: a statement that the server refuses is an error.
        sql.execute(block)


def test_cancelling_by_the_runbook_cancels(sql: psycopg.Connection) -> None:
    text = (ROOT / "docs" / "RUNBOOK.md").read_text()
    (block,) = (block for block in BLOCK.findall(text) if "pgmq.archive" in block)
    sql.execute('select public.pgmq_send(\'image_generation_queue\', \'{"storyboardId": "b", "prompt": "p"}\')')
    record = sql.execute("select id::text from superstoryboard.jobs").fetchone()
    assert record is not None
    sql.execute(re.sub(r"id = '[^']+'", f"id = '{record[0]}'", block))
    assert sql.execute("select state, warnings from superstoryboard.jobs").fetchone() == (
        "CANCELLED",
        ["message removed"],
    )
