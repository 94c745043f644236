"""What people read is ordinary English, and names are nouns: private words do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = re.compile(
    r"\b(?:films|draws|mends?|mended|somebody|nobody|perhaps paid|paid for nothing|go(?:es)? on|tried again|trying on"
    r"|does not answer|is no longer of use|save for|answered nothing|made-up|lets? this machine in"
    r"|takes no|odd characters|else left alone|polled on|struck|whoever)\b",
    re.IGNORECASE,
)
PRIVATE_PROSE = re.compile(
    r"\b(?:somebody|nobody|whoever|perhaps paid|paid for nothing|go(?:es)? on|mends?|mended|polled on|is of use|struck"
    r"|films|(?:is|are|be) away)\b",
    re.IGNORECASE,
)
PARTICIPLES = {"found", "wanted", "seen", "taken", "told"}
PROGRAMS = sorted(
    path
    for part in ("superstoryboard", "services", "storyboard", "devstack")
    for path in (ROOT / part).rglob("*.py")
    if "v1" not in path.parts
)
TYPERS = [path for path in PROGRAMS if path.parent.name == "commands"]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *(
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if path.name != "FAULTS.md" and "reference" not in path.parts
    ),
]
MIGRATIONS = sorted((ROOT / "migrations").glob("*.sql"))
IDS = [str(path.relative_to(ROOT)) for path in PROGRAMS]


def private(texts: Iterator[str]) -> list[str]:
    """Those of the texts that a stranger does not understand."""
    return [text for text in texts if PRIVATE.search(text)]


def unnamed(source: str) -> list[str]:
    """Variables and parameters called by what befell their value; a flag may be."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.arg) and getattr(node.annotation, "id", "") != "bool":
            names.append(node.arg)
    return [name for name in names if name in PARTICIPLES]


def literals(path: Path) -> Iterator[str]:
    """Texts of a module that a program can print: neither docstrings nor single words; of commands also their help."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value
        if path in TYPERS and isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield ast.get_docstring(node) or ""


def unnamed_in_sql(source: str) -> list[str]:
    """Variables, parameters and columns of the database called by what befell their value; a flag may be."""
    declared = re.findall(
        r"(?:^\s*|[(,]\s*|\bout )(\w+) (?!boolean)[\w.]+(?:\[\])?(?: :=| not null|[,;)]|$)", source, re.MULTILINE
    )
    return [name for name in declared if name.removeprefix("p_") in PARTICIPLES]


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


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_documents_say_who_and_what(path: Path) -> None:
    assert PRIVATE_PROSE.findall(path.read_text()) == []


def test_a_participle_is_told_from_a_noun() -> None:
    source = "def ended(*, found: bool, seen: int):\n    wanted, rows = 1, [told for told in ()]"
    assert sorted(unnamed(source)) == ["seen", "told", "wanted"]


@pytest.mark.parametrize("path", PROGRAMS, ids=IDS)
def test_names_say_what_they_hold(path: Path) -> None:
    assert unnamed(path.read_text()) == []


def test_names_of_tests_say_what_they_hold() -> None:
    nouns = {str(path.relative_to(ROOT)): unnamed(path.read_text()) for path in sorted((ROOT / "tests").rglob("*.py"))}
    assert {path: names for path, names in nouns.items() if set(names) - {"told"}} == {}


def test_a_participle_of_the_database_is_noticed() -> None:
    source = (
        "create function f(p_seen text, out told boolean)\ndeclare\n  wanted s.jobs;\n  taken jsonb := '[]';\nbegin"
    )
    assert unnamed_in_sql(source) == ["p_seen", "wanted", "taken"]


@pytest.mark.parametrize("path", MIGRATIONS, ids=[path.name for path in MIGRATIONS])
def test_names_of_the_database_say_what_they_hold(path: Path) -> None:
    assert unnamed_in_sql(path.read_text()) == []
