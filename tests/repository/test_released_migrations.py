"""A migration that was released is never edited: running databases have applied it (decision 0003)."""

import hashlib
from pathlib import Path

import pytest

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def changed_files(folder: Path) -> list[str]:
    """Files that `released.sha256` lists and that are gone or have another content; none where nothing was released."""
    released = folder / "released.sha256"
    lines = released.read_text().splitlines() if released.exists() else []
    listed = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    present = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.sql")}
    return sorted(name for name, digest in listed.items() if present.get(name) != digest)


def test_released_migrations_are_as_they_were() -> None:
    assert changed_files(MIGRATIONS) == []


@pytest.mark.parametrize(("text", "changed"), [("select 1;", []), ("select 2;", ["1_a.sql"]), (None, ["1_a.sql"])])
def test_an_edited_or_removed_migration_is_seen(tmp_path: Path, text: str | None, changed: list[str]) -> None:
    digest = hashlib.sha256(b"select 1;").hexdigest()
    (tmp_path / "released.sha256").write_text(f"{digest}  1_a.sql\n")
    (tmp_path / "2_new.sql").write_text("select 3;")
    if text is not None:
        (tmp_path / "1_a.sql").write_text(text)
    assert changed_files(tmp_path) == changed
