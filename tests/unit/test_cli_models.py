"""`storyboard models`: the catalogue as it is, without any server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from superstoryboard.providers.catalogue import Catalogue
from tests.unit.cli_fixture import Cli, running_cli
from tests.unit.own_models import MY_FILM

OWN = f"""
[defaults]
video = "my-film"
{MY_FILM}"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    monkeypatch.delenv("MODEL_CATALOGUE", raising=False)
    with running_cli(capsys, monkeypatch) as running:
        running.set(INGEST_ADDRESS="127.0.0.1:1")
        yield running


def test_every_model_is_a_row_with_its_state_price_and_choices(cli: Cli) -> None:
    lines = cli("models").out.splitlines()
    rows = {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    assert set(rows) == {model.name for model in Catalogue.load().models()}
    assert rows["gemini-omni-1.1-flash"].removeprefix("gemini-omni-1.1-flash video interactions ") == (
        "default 720p 0.10 1080p 0.15 a second 4/6/8 s | 720p 1080p | 16:9 9:16"
    )
    retired = rows["veo-3.1-fast-generate-preview"]
    assert "veo_gemini retired 2026-10-22, use gemini-omni-1.1-flash 720p 0.10" in retired
    assert "refused, use gemini-nano-banana-2.1" in rows["imagen-4.0-generate-001"]


def test_json_has_a_record_for_every_model_of_the_kind(cli: Cli) -> None:
    records = {record["name"]: record for record in cli("models", "videos", "--json").json}
    assert {record["kind"] for record in records.values()} == {"video"}
    veo = records["veo-3.1-generate-preview"]
    assert (veo["route"], veo["retired"], veo["refused"], veo["default"]) == ("veo_gemini", True, False, False)
    assert (veo["retirementDate"], veo["replacement"]) == ("2026-10-22", "gemini-omni-1.1-flash")
    assert "passed its retirement date" in veo["warning"]
    assert veo["price"]["usd"] == {"720p": "0.40", "1080p": "0.40", "4k": "0.60"}
    assert (veo["durations"], veo["resolutions"]) == (["4", "6", "8"], ["720p", "1080p", "4k"])
    assert veo["resolutionDurations"] == {"1080p": ["8"], "4k": ["8"]}
    assert records["gemini-omni-1.1-flash"]["warning"] is None
    assert all(record["sizes"] == [] for record in records.values())


def test_entries_of_the_installation_are_shown(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    cli.set(MODEL_CATALOGUE=str(tmp_path / "own.toml"))
    assert [each["name"] for each in cli("models", "videos", "--json").json if each["default"]] == ["my-film"]


def test_a_catalogue_of_no_use_is_wrong_usage(cli: Cli, tmp_path: Path) -> None:
    cli.set(MODEL_CATALOGUE=str(tmp_path / "nothing.toml"))
    result = cli("models")
    assert result.code == 2
    assert result.err.startswith("MODEL_CATALOGUE: the catalogue ")
    assert cli("models", "sounds").code == 2
