"""Statements in files: what a class declares is there, once, before anything runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from superstoryboard.db.statements import StatementsError

DECLARATION = """
from typing import LiteralString
from superstoryboard.db.statements import Statements

class Sql(Statements):
    first: LiteralString
    second: LiteralString
"""
FIRST = "-- name: first\nselect 1;\n"
SECOND = "-- name: second\n-- What it is for; 5 % of it.\nselect 2\nwhere %(one)s = '--';\n"


def imported(folder: Path, statements: str) -> ModuleType:
    """A module that declares two statements, imported beside a file of statements."""
    module_file = folder / "declares.py"
    module_file.write_text(DECLARATION)
    module_file.with_suffix(".sql").write_text(statements)
    spec = importlib.util.spec_from_file_location("declares", module_file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "declares", module)
        spec.loader.exec_module(module)
    return module


def test_a_declared_name_is_its_statement(tmp_path: Path) -> None:
    module = imported(tmp_path, f"-- About the file.\n\n{FIRST}\n{SECOND}")
    assert module.Sql.first == "select 1"
    assert module.Sql.second == "select 2\nwhere %(one)s = '--'"


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (FIRST, "second is in only one of declares.sql and declares.Sql"),
        (FIRST + SECOND + "-- name: third\nselect 3;\n", "third is in only one of declares.sql and declares.Sql"),
        (FIRST + SECOND + FIRST, "declares.sql has first twice"),
        (FIRST + "--name: second\nselect 2;\n", "first is not one statement"),
        (FIRST + "-- name: second\nselect 2\n", "second is not one statement"),
        (FIRST + "-- name: second\n", "second is not one statement"),
        ("select 3;\n" + FIRST + SECOND, "begins with a statement that has no name"),
        (FIRST + "-- name: second\nselect 5 % 2;\n", "second has a percent sign that is no value"),
        (FIRST + "-- name: second\nselect %s;\n", "second has a percent sign that is no value"),
    ],
)
def test_a_module_whose_file_is_wrong_cannot_be_imported(tmp_path: Path, statements: str, message: str) -> None:
    with pytest.raises(StatementsError, match=message):
        imported(tmp_path, statements)
