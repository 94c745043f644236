"""A reader finds each document from the index, and each word once in the glossary."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def links_of(document: Path) -> set[Path]:
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    return {(document.parent / target).resolve() for target in targets if ":" not in target}


def test_the_index_leads_to_every_document() -> None:
    indexes = [DOCS / "README.md", DOCS / "decisions" / "README.md"]
    reached = {target for index in indexes for target in links_of(index)} | {DOCS / "README.md"}
    assert sorted(str(path.relative_to(ROOT)) for path in set(DOCS.rglob("*.md")) - reached) == []


def test_the_readme_leads_to_the_index() -> None:
    assert DOCS / "README.md" in links_of(ROOT / "README.md")


def test_each_word_of_the_glossary_is_explained_once() -> None:
    cells = re.findall(r"^\| (.*?) \| (.*?) \| .* \|$", (DOCS / "GLOSSARY.md").read_text(), re.MULTILINE)
    words = Counter(word for cell, _ in cells for word in re.findall(r"\*\*(.+?)\*\*", cell))
    assert [word for word, count in words.items() if count > 1] == []
    assert [cell for cell, meaning in cells if cell.startswith("**") and not meaning.strip()] == []


def test_every_state_of_job_call_and_artifact_is_in_states() -> None:
    schema = (ROOT / "migrations" / "20250101000110_create_superstoryboard_schema.sql").read_text()
    states = {
        word for check in re.findall(r"check \(state in \(([^)]*)\)", schema) for word in re.findall(r"\w+", check)
    }
    named = set(re.findall(r"^\| ([A-Z_]+) \|", (DOCS / "STATES.md").read_text(), re.MULTILINE))
    assert states != set()
    assert states - named == set()
