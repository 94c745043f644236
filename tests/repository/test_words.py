"""Texts that users, callers and operators read are ordinary English: private words do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = re.compile(
    r"\b(?:films|draws|mends?|mended|somebody|nobody|perhaps paid|paid for nothing|goes? on|tried again|trying on"
    r"|does not answer|is no longer of use|save for|answered nothing|starts again|made-up|lets? this machine in"
    r"|takes no|odd characters|else left alone|is no \w+ model|polled on|struck|whoever|by hand it)\b",
    re.IGNORECASE,
)
PROGRAMS = sorted(
    path
    for part in ("superstoryboard", "services", "storyboard")
    for path in (ROOT / part).rglob("*.py")
    if "v1" not in path.parts
)
TYPERS = [path for path in PROGRAMS if path.parent.name == "commands"]
MIGRATIONS = sorted((ROOT / "migrations").glob("*.sql"))
IDS = [str(path.relative_to(ROOT)) for path in PROGRAMS]


def private(texts: Iterator[str]) -> list[str]:
    """Those of the texts that a stranger does not understand."""
    return [text for text in texts if PRIVATE.search(text)]


def literals(path: Path) -> Iterator[str]:
    """Texts of a module that a program can print: neither docstrings nor single words; of commands also their help."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value
        if path in TYPERS and isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield ast.get_docstring(node) or ""


def test_words_are_told_apart() -> None:
    assert private(iter(["The model films", "Generating video", "PAID_FOR_NOTHING", "the job goes on"])) == [
        "The model films",
        "the job goes on",
    ]


@pytest.mark.parametrize("path", PROGRAMS, ids=IDS)
def test_texts_of_programs_need_no_glossary(path: Path) -> None:
    assert private(literals(path)) == []


@pytest.mark.parametrize("path", MIGRATIONS, ids=[path.name for path in MIGRATIONS])
def test_texts_of_the_database_need_no_glossary(path: Path) -> None:
    statements = re.sub(r"^\s*(?:--|comment on).*$", "", path.read_text(), flags=re.MULTILINE)
    assert private(iter(re.findall(r"'((?:[^']|'')+)'", statements))) == []


def test_descriptions_of_settings_need_no_glossary() -> None:
    assert private(iter((ROOT / ".env.example").read_text().splitlines())) == []
