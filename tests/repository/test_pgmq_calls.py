"""Only those functions of PGMQ are called that its versions 1.4.4, 1.5.1 and 1.13 all have, and as all have them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder, ending in (
        ("migrations", "*.sql"),
        ("examples", "*.sql"),
        ("superstoryboard", "*.py"),
        ("superstoryboard", "*.sql"),
        ("services", "*.py"),
        ("storyboard", "*.py"),
        ("devstack", "*.py"),
    )
    for path in (ROOT / folder).rglob(ending)
)
SAFE = {
    "create",
    "send",
    "send_batch",
    "read",
    "read_with_poll",
    "set_vt",
    "archive",
    "delete",
    "metrics",
    "metrics_all",
}
CALL = re.compile(r"\bpgmq\.\"?(\w+)\"?\s*\(", re.IGNORECASE)
# Found by feature: whether it is there is what the statement asks.
ASKED = re.compile(r"to_reg(?:procedure|class)\('[^']*'\)", re.IGNORECASE)
WHOLE_ROWS = re.compile(r"\bselect\s+(?:\w+\.)?\*\s+from\s+pgmq\.", re.IGNORECASE)
NUMBERS = re.compile(r"\bextversion\b|pgmq.{0,20}\bversion\b", re.IGNORECASE)


def statements(text: str) -> str:
    """The text without comments of SQL and Python, and without questions for a feature."""
    return ASKED.sub("", re.sub(r"(--|#).*", "", text))


def called(text: str) -> set[str]:
    return {name.lower() for name in CALL.findall(statements(text))}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_call_is_safe_on_all_versions(path: Path) -> None:
    text = path.read_text()
    assert called(text) <= SAFE
    assert not WHOLE_ROWS.search(statements(text)), "columns differ by version: name them"
    assert not NUMBERS.search(statements(text)), "ask for the function, not for the version"


def test_the_check_sees_what_it_should() -> None:
    assert called("select pgmq.pop('q'); perform pgmq.set_vt(q, 1, 2) -- pgmq.drop_queue('q')") == {"pop", "set_vt"}
    assert called("if to_regprocedure('pgmq.read_grouped(text)') is not null then") == set()
    assert called("select * from pgmq.\"purge_queue\"('q')") == {"purge_queue"}
    assert WHOLE_ROWS.search("select * from pgmq.read('q', 1, 1)")
    names = {name for path in SOURCES for name in called(path.read_text())}
    assert {"create", "send", "read", "set_vt", "archive", "delete"} <= names
