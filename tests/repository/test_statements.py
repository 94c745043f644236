"""SQL of jobs stands in files, one beside each module that has any; every statement is used by that module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from superstoryboard.db.statements import read_statements

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "superstoryboard"
FILES = sorted(PACKAGE.rglob("*.sql"))
JOBS = sorted((PACKAGE / "jobs").glob("*.py"))
LITERAL = re.compile(
    r"\s*(?:select|insert|update|delete|with|call)\s.*\b(?:from|into|set|superstoryboard|pgmq)\b", re.DOTALL
)


def used(source: str) -> set[str]:
    """Names of the statements that a module hands to the database: attributes of its class Sql."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Sql"
    }


def literals(source: str) -> list[str]:
    """Statements that stand in the Python of a module."""
    return [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and LITERAL.match(node.value)
    ]


def test_there_are_files_of_statements() -> None:
    assert {file.with_suffix(".py") for file in FILES} <= set(JOBS)
    assert PACKAGE / "jobs" / "queue.sql" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_statement_is_used_and_every_use_has_one(file: Path) -> None:
    assert used(file.with_suffix(".py").read_text()) == read_statements(file).keys() != set()


@pytest.mark.parametrize("path", JOBS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_statement_of_jobs_stands_in_python(path: Path) -> None:
    assert literals(path.read_text()) == []


def test_the_checks_see_what_they_should() -> None:
    assert used("await fetch(Sql.claim_jobs, {}); Other.name; Sql") == {"claim_jobs"}
    source = """fetch("select id from jobs"); fetch("select superstoryboard.end_v1(" "%(id)s)"); log("select one")"""
    assert literals(source) == ["select id from jobs", "select superstoryboard.end_v1(%(id)s)"]
