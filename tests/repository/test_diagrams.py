"""Every diagram of the documents is drawn by Mermaid itself, in an embedded engine: no browser, no network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mermaidx
import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Diagram:
    """The text of a fenced block and where it stands."""

    place: str
    source: str


def diagrams_of(document: Path) -> list[Diagram]:
    """The mermaid blocks of a document; one that is not closed runs to the end, and cannot be drawn."""
    blocks = re.findall(r"^```mermaid\n(.*?)(?:^```$|\Z)", document.read_text(), re.MULTILINE | re.DOTALL)
    name = document.relative_to(ROOT)
    return [Diagram(f"{name} {number}", block) for number, block in enumerate(blocks, 1)]


DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DIAGRAMS = [diagram for document in DOCUMENTS for diagram in diagrams_of(document)]
SEQUENCES = [diagram for diagram in DIAGRAMS if diagram.source.startswith("sequenceDiagram")]


def place_of(diagram: Diagram) -> str:
    return diagram.place


def test_architecture_draws_the_picture_an_image_a_video_and_a_crash() -> None:
    headings = re.findall(
        r"^## (.*)\n\n```mermaid\n(\w+)", (ROOT / "docs" / "ARCHITECTURE.md").read_text(), re.MULTILINE
    )
    assert headings == [
        ("The picture", "flowchart"),
        ("An image", "sequenceDiagram"),
        ("A video", "sequenceDiagram"),
        ("Crash and resume", "sequenceDiagram"),
    ]


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=place_of)
def test_it_is_drawn(diagram: Diagram) -> None:
    assert mermaidx.render(diagram.source).svg().startswith("<svg")


@pytest.mark.parametrize("diagram", SEQUENCES, ids=place_of)
def test_a_message_goes_between_declared_participants(diagram: Diagram) -> None:
    """Mermaid takes a name that it does not know for a new participant; here that is a slip of the pen."""
    declared = set(re.findall(r"^ *participant (\w+)", diagram.source, re.MULTILINE))
    arrows = re.findall(r"^ *(\w+) *(?:<<)?--?(?:>>|[>x)])[+-]? *(\w+):", diagram.source, re.MULTILINE)
    named = {name for arrow in arrows for name in arrow} | set(
        re.findall(r"^ *note over (\w+)", diagram.source, re.MULTILINE | re.IGNORECASE)
    )
    assert arrows != []
    assert named == declared


@pytest.mark.parametrize(
    "source",
    [
        "sequenceDiagram\n participant A\n A->>A hello\n",
        "sequenceDiagram\n participant A\n alt this\n A->>A: hello\n",
        "flowchart LR\n a -->\n",
        "a drawing\n",
    ],
)
def test_a_text_that_is_no_diagram_is_refused(source: str) -> None:
    with pytest.raises(RuntimeError, match="rendering failed"):
        mermaidx.render(source).svg()
