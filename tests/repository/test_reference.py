"""The pages of docs/reference are what the code says today, and the documents agree with them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
RUNBOOK = ROOT / "docs" / "RUNBOOK.md"
PAGES = sorted(path.name for path in REFERENCE.glob("*.md"))


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "generate_reference.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def first_column(text: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))


def test_the_reference_is_what_the_code_says() -> None:
    checked = generate("--check")
    assert checked.stderr == ""
    assert checked.returncode == 0


def test_pages_that_differ_or_are_missing_are_named(tmp_path: Path) -> None:
    assert generate("--folder", str(tmp_path)).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == PAGES
    (tmp_path / "metrics.md").write_text("a metric that is gone")
    (tmp_path / "sql.md").unlink()
    checked = generate("--check", "--folder", str(tmp_path))
    assert checked.returncode == 1
    assert "metrics.md, sql.md" in checked.stderr


@pytest.mark.parametrize("page", PAGES)
def test_no_table_is_empty(page: str) -> None:
    text = (REFERENCE / page).read_text()
    tables = re.findall(r"^\| --- .*\n(\|?)", text, re.MULTILINE)
    assert tables != []
    assert set(tables) == {"|"}


def test_every_setting_of_the_example_is_explained() -> None:
    names = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(names) == first_column((REFERENCE / "settings.md").read_text())


def test_every_setting_is_read_by_a_process() -> None:
    assert "nobody yet" not in (REFERENCE / "settings.md").read_text()


def test_the_runbook_knows_every_metric_and_no_other() -> None:
    listed = {name for name in first_column(RUNBOOK.read_text()) if name.startswith("superstoryboard_")}
    assert listed == first_column((REFERENCE / "metrics.md").read_text())


def test_the_runbook_names_codes_that_exist() -> None:
    section = RUNBOOK.read_text().split("## Dead letters", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| (`[A-Z_]+`[^|]*) \|", section, re.MULTILINE)
    named = {word for cell in cells for word in re.findall(r"`([A-Z_]+)`", cell)}
    assert named != set()
    assert named - first_column((REFERENCE / "errors.md").read_text()) == set()
