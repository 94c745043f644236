"""CONTRIBUTING leads to the code: what a row names is in the file that the row links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
NAMED = sorted(set(re.findall(r"`(\w+)`(?: for all)? in \[[^]]+\]\(([^)]+)\)", TEXT)))
TASKS = (
    "a model",
    "a route",
    "a kind of job",
    "another backoff",
    "a field of an event",
    "a setting",
    "a rule for paths",
    "a metric",
)


@pytest.mark.parametrize(("name", "file"), NAMED)
def test_what_is_named_is_in_the_linked_file(name: str, file: str) -> None:
    assert re.search(rf"\b{name}\b", (ROOT / file).read_text())


@pytest.mark.parametrize("task", TASKS)
def test_every_usual_task_has_a_row_that_leads_to_a_file(task: str) -> None:
    (row,) = re.findall(rf"^\| {task}.*\|$", TEXT, re.MULTILINE)
    assert len(re.findall(r"\]\(", row)) >= 2


def test_names_are_looked_for() -> None:
    assert len(NAMED) >= len(TASKS)


def test_every_layer_of_tests_is_described() -> None:
    tests = ROOT / "tests"
    folders = {each.relative_to(tests).parts[0] for each in tests.rglob("*/test_*.py")}
    assert folders == set(re.findall(r"^\| \[(\w+)\]\(tests/", TEXT, re.MULTILINE))
