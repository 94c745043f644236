"""What code, SQL, protos, manifests and documents cite is in the repository: rows, invariants, decisions, functions."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"
GENERATED = re.compile(r"_pb2|^requirements/|\.binpb$|\.lock$")
FORMER = re.compile(r"\bDESIGN\b|\bdesign/[\w-]+\.md|\bSTYLE\.md|/shared/")
"""Documents that readers of the repository do not have."""


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Name and text of every file in version control or about to be: not generated, no bytes, not this one."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if not GENERATED.search(name) and path.is_file() and path != Path(__file__).resolve():
            data = path.read_bytes()
            if b"\0" not in data:
                yield name, data.decode()


def first_cells(document: str) -> list[str]:
    """The ids that a document defines: the first cell of its rows, in their order."""
    return re.findall(r"^\| ([A-Z]\d+) \|", (DOCS / document).read_text(), re.MULTILINE)


def cited(text: str) -> Iterator[tuple[str, bool]]:
    """Each id that a text cites, and whether the word SPEC stands right in front of it."""
    for match in re.finditer(r"(SPEC )?\b([A-K]\d{1,2})\b", text):
        yield match[2], match[1] is not None


def unresolved(text: str, rows: set[str], invariants: set[str]) -> set[str]:
    """The citations that lead nowhere. I1 alone is an invariant; with SPEC in front it is a row."""
    ids = {("SPEC " if named else "") + cited_id for cited_id, named in cited(text)}
    known = rows - {row for row in rows if row.startswith("I")} | invariants | {f"SPEC {row}" for row in rows}
    sections = {f"SPEC {letter}" for letter in re.findall(r"\bSPEC ([A-Z])\b(?!\w)", text)}
    return (ids - known) | (sections - {f"SPEC {row[0]}" for row in rows} - {"SPEC F"})


def decision_files() -> dict[str, Path]:
    return {path.name[:4]: path for path in sorted(DECISIONS.glob("[0-9]*.md"))}


def test_the_specification_has_each_row_once_and_in_order() -> None:
    rows = first_cells("SPEC.md")
    counts = {letter: sum(row[0] == letter for row in rows) for letter in "ABCDEGHIJK"}
    assert rows == [f"{letter}{number}" for letter, count in counts.items() for number in range(1, count + 1)]
    assert min(counts.values()) > 0


def test_each_row_names_what_shows_it_or_is_planned() -> None:
    lines = re.findall(r"^\| [A-Z]\d+ \|.*$", (DOCS / "SPEC.md").read_text(), re.MULTILINE)
    last_cells = {line.split(" | ")[0].strip("| "): line.rsplit(" | ", 1)[1].removesuffix(" |") for line in lines}
    silent = [
        row
        for row, cell in last_cells.items()
        if cell != "planned" and not re.search(r"`tests/[\w/]+\.py::test_\w+`", cell)
    ]
    assert silent == []


def test_the_invariants_are_eleven() -> None:
    assert first_cells("INVARIANTS.md") == [f"I{number}" for number in range(1, 12)]


def test_every_cited_row_and_invariant_exists() -> None:
    rows, invariants = set(first_cells("SPEC.md")), set(first_cells("INVARIANTS.md"))
    missing = {name: ids for name, text in tracked_texts() if (ids := unresolved(text, rows, invariants))}
    assert missing == {}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("as in A6, and I10", set()),
        ("SPEC I4 and SPEC F", set()),
        ("SPEC A99, B9", {"SPEC A99", "B9"}),
        ("I11 is no invariant", {"I11"}),
        ("SPEC I9 is no row", {"SPEC I9"}),
        ("SPEC Z", {"SPEC Z"}),
    ],
)
def test_a_citation_that_leads_nowhere_is_noticed(text: str, missing: set[str]) -> None:
    rows = {"A6", "I1", "I4", "G1"}
    assert unresolved(text, rows, {f"I{number}" for number in range(1, 11)}) == missing


def test_nothing_cites_what_is_not_in_the_repository() -> None:
    citing = {name for name, text in tracked_texts() if FORMER.search(text)}
    assert citing == set()


def test_every_cited_decision_exists() -> None:
    numbers = set(decision_files())
    missing = {
        name: strangers
        for name, text in tracked_texts()
        if (strangers := set(re.findall(r"\bdecisions? (\d{4})\b", text)) - numbers)
    }
    assert missing == {}


def test_a_link_to_a_decision_goes_to_its_number() -> None:
    links = [link for _, text in tracked_texts() for link in re.findall(r"\[(\d{4})\]\(([^)]*)\)", text)]
    assert links != []
    assert [link for link in links if not Path(link[1]).name.startswith(f"{link[0]}-")] == []


def test_decisions_are_numbered_without_a_gap_and_listed_once() -> None:
    files = decision_files()
    listed = re.findall(r"^- \[(\d{4})\]\((\S+)\): (.*)$", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    assert list(files) == [f"{number:04}" for number in range(1, len(files) + 1)]
    titles = [(number, path.name, path.read_text().splitlines()[0]) for number, path in files.items()]
    assert sorted((number, name, f"# {number}. {title}") for number, name, title in listed) == titles


@pytest.mark.parametrize("record", decision_files().values(), ids=lambda path: path.stem)
def test_a_decision_has_its_three_parts_on_one_page(record: Path) -> None:
    text = record.read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 60


def test_functions_that_documents_name_are_in_the_migrations() -> None:
    defined = {
        function
        for path in (ROOT / "migrations").glob("*.sql")
        for function in re.findall(r"create (?:or replace )?function \w+\.(\w+)", path.read_text())
    }
    documents = list(DOCS.rglob("*.md"))
    named = {word for path in documents for word in re.findall(r"\b[a-z_]+_v\d+\b", path.read_text())}
    assert named != set()
    assert named - defined == set()
