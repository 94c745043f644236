from datetime import date
from pathlib import Path

import pytest

from superstoryboard.providers.catalogue import SHIPPED, Catalogue, CatalogueError, UnknownModel


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_the_defaults_are_models_of_their_kind(catalogue: Catalogue) -> None:
    assert catalogue.get(catalogue.default_image_model).kind == "image"
    assert catalogue.get(catalogue.default_name("video")).kind == "video"
    assert catalogue.default_name("image") == "gemini-nano-banana-2.1"


def test_models_are_listed_by_kind(catalogue: Catalogue) -> None:
    images, videos = catalogue.models("image"), catalogue.models("video")
    assert {model.route for model in images} == {"gemini_image"}
    assert {model.route for model in videos} == {"veo_gemini"}
    assert catalogue.models() == images + videos


def test_an_unknown_model_is_a_key_error(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownModel, match="'gpt' is not in the catalogue") as caught:
        catalogue.get("gpt")
    assert isinstance(caught.value, KeyError)


def test_a_passed_date_warns_and_names_the_replacement(catalogue: Catalogue) -> None:
    model = catalogue.get("gemini-2.5-flash-image-preview")
    assert model.retirement_warning(date(2026, 1, 15)) is None
    assert model.retirement_warning(date(2026, 1, 16)) == (
        "model gemini-2.5-flash-image-preview passed its retirement date 2026-01-15; replacement gemini-nano-banana-2.1"
    )


def test_a_model_without_a_date_never_warns(catalogue: Catalogue) -> None:
    assert catalogue.get("gemini-nano-banana-2.1").retirement_warning(date(2099, 1, 1)) is None


def test_every_entry_is_usable_as_a_default_request(catalogue: Catalogue) -> None:
    for model in catalogue.models():
        assert "16:9" in model.aspect_ratios
        assert model.price.usd
        assert model.prompt_max_characters > 0
        if model.kind == "video":
            assert "8" in model.durations
            assert set(model.resolutions) == set(model.price.usd)
            assert model.resolution_durations["1080p"] == ("8",)


@pytest.mark.parametrize(
    ("found", "written"),
    [
        ('kind = "image"', 'kind = "sound"'),
        ('route = "veo_gemini"', 'route = "carrier_pigeon"'),
        ("prompt_max_characters = 4000", 'prompt_max_characters = "many"'),
        ("retirement_date = 2026-01-15", 'retirement_date = "soon"'),
        ('durations = ["4", "6", "8"]', "durations = [4, 6, 8]"),
        ('aspect_ratios = ["16:9", "9:16"]', 'aspect_ratios = "16:9"'),
        ('720p = "0.10"', '720p = "ten"'),
        ('image = "gemini-nano-banana-2.1"', 'image = "veo-3.1-generate-preview"'),
        ('name = "gemini-3-pro-image"', 'name = "gemini-nano-banana-2.1"'),
        ('provider = "google"', 'vendor = "google"'),
        ("[[models]]", "[[model]]"),
        ("[[models]]", "[[models"),
    ],
)
def test_a_wrong_file_is_refused_at_load(tmp_path: Path, found: str, written: str) -> None:
    text = SHIPPED.read_text("utf-8")
    assert found in text
    path = tmp_path / "catalogue.toml"
    path.write_text(text.replace(found, written), "utf-8")
    with pytest.raises(CatalogueError, match="catalogue"):
        Catalogue.load(path)


def test_a_file_of_the_installation_replaces_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(SHIPPED.read_text("utf-8").replace("prompt_max_characters = 4000", "prompt_max_characters = 9"))
    assert Catalogue.load(path).get("veo-3.1-generate-preview").prompt_max_characters == 9
