"""The documents are true where a machine can tell: links, tests named, states, settings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from services.asset_writer.settings import AssetWriterSettings
from services.image_worker.settings import ImageWorkerSettings
from services.ingest.settings import IngestSettings
from services.video_worker.settings import VideoWorkerSettings
from superstoryboard.storage.errors import StorageErrorKind
from tests.unit.settings_names import names_of

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
SETTINGS = (IngestSettings, ImageWorkerSettings, VideoWorkerSettings, AssetWriterSettings)


def client_settings() -> set[str]:
    """What the command line reads of the environment."""
    text = "".join(path.read_text() for path in (ROOT / "storyboard").rglob("*.py"))
    return set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', text))


def example_settings() -> set[str]:
    return set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def service_settings() -> set[str]:
    return {name for settings in SETTINGS for name in names_of(settings)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    relative = [unquote(link.partition("#")[0]) for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in relative if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_named_test_exists(document: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text())
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_every_invariant_has_a_test() -> None:
    text = (ROOT / "docs" / "INVARIANTS.md").read_text()
    rows = re.findall(r"^\| (I\d+) \|.*`tests/", text, re.MULTILINE)
    assert rows == [f"I{number}" for number in range(1, 12)]


def test_the_drawn_states_are_the_moves_of_the_database() -> None:
    drawn = re.findall(r"^ +([A-Z_]+) --> ([A-Z_]+):", (ROOT / "docs" / "STATES.md").read_text(), re.MULTILINE)
    assert len(drawn) == len(set(drawn))
    moves: set[tuple[str, str]] = set()
    for migration in sorted((ROOT / "migrations").glob("*.sql")):
        for statement in re.findall(
            r"insert into superstoryboard\.job_moves\b[^;]*values([^;]*);", migration.read_text()
        ):
            moves |= set(re.findall(r"\('([A-Z_]+)', '([A-Z_]+)'\)", statement))
    assert set(drawn) == moves


def test_every_setting_of_the_example_file_is_read_by_somebody() -> None:
    assert not example_settings() - service_settings() - client_settings()


def test_every_setting_is_in_the_example_file() -> None:
    assert service_settings() - example_settings() == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_settings_states_and_codes_that_documents_name_exist(document: Path) -> None:
    settings = example_settings() | {f"{name}_FILE" for name in service_settings()}
    code = [path for part in ("superstoryboard", "services") for path in (ROOT / part).rglob("*.py")]
    sources = [*code, *(ROOT / "migrations").glob("*.sql"), *(ROOT / "proto").rglob("*.proto"), ROOT / "Makefile"]
    words = {word for path in sources for word in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", path.read_text())}
    codes = {f"STORAGE_{kind.value}" for kind in StorageErrorKind}
    # Rows of the specification that are planned name what is not there yet.
    present = re.sub(r"^.*\| planned \|$", "", document.read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)\b", present))
    assert named - settings - words - codes == set()


def test_documents_name_no_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout.split()
    offenders = [name for name in listed if re.search(r"(^|[\s(`])/(work|farm|root|home)/", (ROOT / name).read_text())]
    assert offenders == []
