from datetime import date
from pathlib import Path

import pytest

from superstoryboard.domain.media import Media
from superstoryboard.providers.catalogue import SHIPPED, Catalogue, CatalogueError, UnknownModel
from superstoryboard.providers.routes import ROUTES
from superstoryboard.providers.validation import freeze_generation, validate_generation
from superstoryboard.v1.job_pb2 import ImageGeneration, VideoGeneration
from tests.unit.own_models import MY_FILM


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_the_defaults_are_models_of_their_kind(catalogue: Catalogue) -> None:
    assert catalogue.get(catalogue.default_name("image")).kind == "image"
    assert catalogue.get(catalogue.default_name("video")).kind == "video"
    assert catalogue.default_name("image") == "gemini-nano-banana-2.1"


def test_models_are_listed_by_kind(catalogue: Catalogue) -> None:
    images, videos = catalogue.models("image"), catalogue.models("video")
    assert {ROUTES[model.route].makes for model in images} == {Media.IMAGE}
    assert {ROUTES[model.route].makes for model in videos} == {Media.VIDEO}
    assert catalogue.models() == images + videos


def test_the_defaults_answer_today_and_need_no_warning(catalogue: Catalogue) -> None:
    defaults = [catalogue.get(catalogue.default_name(kind)) for kind in ("image", "video")]
    assert [model.name for model in defaults] == ["gemini-nano-banana-2.1", "gemini-omni-1.1-flash"]
    assert not any(model.retirement_date or model.refuse for model in defaults)


@pytest.mark.parametrize("name", ["gemini-2.5-flash-image-preview", "veo-3.1-fast-generate-preview"])
def test_the_names_of_older_clients_are_accepted_with_a_warning(catalogue: Catalogue, name: str) -> None:
    model = catalogue.get(name)
    assert not model.refuse
    assert "replacement gemini-" in (model.retirement_warning(date(2026, 11, 21)) or "")


def test_what_is_retired_names_a_model_that_is_not(catalogue: Catalogue) -> None:
    for model in catalogue.models():
        if model.retirement_date is None:
            continue
        assert model.replacement is not None
        successor = catalogue.get(model.replacement)
        assert (successor.kind, successor.retirement_date, successor.refuse) == (model.kind, None, False)


def test_rules_differ_by_backend(catalogue: Catalogue) -> None:
    gemini, vertex = catalogue.get("veo-3.1-generate-preview"), catalogue.get("veo-3.1-generate-001")
    assert gemini.resolution_durations["1080p"] == ("8",)
    assert "1080p" not in vertex.resolution_durations
    assert gemini.resolution_durations["4k"] == vertex.resolution_durations["4k"] == ("8",)
    assert "4k" not in catalogue.get("veo-3.1-lite-generate-001").resolutions


def test_a_404_says_what_is_known_of_the_model(catalogue: Catalogue) -> None:
    assert catalogue.refusal("veo-3.1-generate-preview").endswith("longer available; replacement gemini-omni-1.1-flash")
    assert "does not offer model" in catalogue.refusal("gemini-omni-1.1-flash")
    assert catalogue.refusal("unheard-of") == ""


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
        assert model.price.usd or model.refuse
        assert model.prompt_max_characters > 0
        if model.kind == "video":
            assert (model.usual_seconds > 0) is not model.refuse
            assert model.refuse or set(model.resolutions) == set(model.price.usd)
            assert set(model.resolution_durations) <= set(model.resolutions)


def test_the_default_video_model_takes_what_clients_ask_for_that_name_no_model(catalogue: Catalogue) -> None:
    model = catalogue.get(catalogue.default_name("video"))
    assert {"16:9", "9:16"} <= set(model.aspect_ratios)
    assert {"4", "6", "8"} <= set(model.durations)
    assert {"720p", "1080p"} <= set(model.resolutions)
    assert (model.default_aspect_ratio, model.default_duration, model.default_resolution) == ("16:9", "8", "720p")


@pytest.mark.parametrize(
    ("original", "written"),
    [
        ('kind = "image"', 'kind = "sound"'),
        ('route = "veo_gemini"', 'route = "carrier_pigeon"'),
        ("prompt_max_characters = 4000", 'prompt_max_characters = "many"'),
        ("retirement_date = 2026-01-15", 'retirement_date = "soon"'),
        ('durations = ["4", "6", "8"]', "durations = [4, 6, 8]"),
        ('aspect_ratios = ["16:9", "9:16"]', 'aspect_ratios = "16:9"'),
        ('720p = "0.10"', '720p = "ten"'),
        ("usual_seconds = 73", "usual_seconds = 7.3"),
        ("usual_seconds = 73", "usual_seconds = -1"),
        ('image = "gemini-nano-banana-2.1"', 'image = "veo-3.1-generate-preview"'),
        ('name = "gemini-3-pro-image"', 'name = "gemini-nano-banana-2.1"'),
        ('provider = "google"', 'vendor = "google"'),
        ("[[models]]", "[[model]]"),
        ("[[models]]", "[[models"),
    ],
)
def test_a_wrong_file_is_refused_at_load(tmp_path: Path, original: str, written: str) -> None:
    text = SHIPPED.read_text("utf-8")
    assert original in text
    path = tmp_path / "catalogue.toml"
    path.write_text(text.replace(original, written), "utf-8")
    with pytest.raises(CatalogueError, match="catalogue"):
        Catalogue.load(path)


def loaded(tmp_path: Path, text: str) -> Catalogue:
    path = tmp_path / "own.toml"
    path.write_text(text, "utf-8")
    return Catalogue.load(path)


def test_a_file_of_the_installation_adds_to_the_shipped_one(tmp_path: Path, catalogue: Catalogue) -> None:
    own = loaded(tmp_path, MY_FILM)
    assert own.get("my-film").prompt_max_characters == 9
    assert [model.name for model in own.models()] == [*(model.name for model in catalogue.models()), "my-film"]
    assert own.default_name("video") == catalogue.default_name("video")


def test_a_file_of_the_installation_overrides_entries_and_defaults(tmp_path: Path, catalogue: Catalogue) -> None:
    text = MY_FILM.replace("my-film", "veo-3.1-generate-preview")
    own = loaded(tmp_path, f'[defaults]\nvideo = "veo-3.1-generate-preview"\n{text}')
    model = own.get("veo-3.1-generate-preview")
    assert (model.route, model.retirement_date) == ("veo_vertex", None)
    assert (own.default_name("video"), own.default_name("image")) == (model.name, catalogue.default_name("image"))
    assert len(own.models()) == len(catalogue.models())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[defaults]\nvideo = "my-film"', "'my-film', which is no video model"),
        ('[defaults]\nsound = "x"', "may name one model for each of image, video, and nothing else"),
        ("models = 3", "may contain only .*models.* and .*defaults"),
        (MY_FILM + MY_FILM, "names a model twice"),
        (MY_FILM.replace('kind = "video"\n', ""), "'my-film' of the catalogue: kind missing"),
        (MY_FILM + "colour = 1", "'my-film' of the catalogue: colour unknown"),
        (MY_FILM.replace("price = ", "cost = "), "'price' is missing"),
        (MY_FILM.replace('"second"', '"frame"'), "'my-film' of the catalogue: a value has the wrong type"),
        (MY_FILM.replace("veo_vertex", "gemini_image"), "route gemini_image does not generate videos"),
        (MY_FILM.replace("veo_vertex", "imagen").replace('"video"', '"image"'), "imagen needs refuse = true"),
        ("[[models", "is not TOML"),
    ],
)
def test_a_wrong_file_of_the_installation_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CatalogueError, match=said):
        loaded(tmp_path, text)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"nothing\.toml cannot be read: No such file"):
        Catalogue.load(tmp_path / "nothing.toml")


CHOICES = 'aspect_ratios = ["16:9"]\ndurations = ["8"]\nresolutions = ["720p"]'


OWN_CHOICES = """aspect_ratios = ["1:1", "16:9"]
durations = ["5", "8"]
resolutions = ["4k", "720p"]
default_aspect_ratio = "1:1"
default_duration = "5"
default_resolution = "4k"
"""


@pytest.mark.parametrize(
    ("choices", "defaults"),
    [
        (CHOICES, ("16:9", "8", "720p")),
        (
            'aspect_ratios = ["1:1", "9:16"]\ndurations = ["5", "10"]\nresolutions = ["768p", "1080p"]',
            ("1:1", "5", "768p"),
        ),
        (
            'aspect_ratios = ["1:1", "16:9"]\ndurations = ["5", "8"]\nresolutions = ["4k", "720p"]',
            ("16:9", "8", "720p"),
        ),
        (
            OWN_CHOICES,
            ("1:1", "5", "4k"),
        ),
    ],
)
def test_a_request_that_names_no_shape_gets_what_the_model_has(
    tmp_path: Path, choices: str, defaults: tuple[str, str, str]
) -> None:
    own = loaded(tmp_path, MY_FILM.replace(CHOICES, choices))
    model = own.get("my-film")
    assert (model.default_aspect_ratio, model.default_duration, model.default_resolution) == defaults
    asked = VideoGeneration(storyboard_id="sb", prompt="x", model="my-film")
    assert validate_generation(asked, own, "my-film") == []
    frozen, _ = freeze_generation(asked, own, "my-film")
    assert (frozen.aspect_ratio, frozen.duration_seconds, frozen.resolution) == defaults
    assert validate_generation(frozen, own, "my-film") == []


def test_a_default_is_checked_together_with_what_is_named(tmp_path: Path) -> None:
    choices = """aspect_ratios = ["16:9"]
durations = ["4", "8"]
resolutions = ["720p", "4k"]
default_duration = "4"
resolution_durations = { 720p = ["4"], 4k = ["8"] }
"""
    own = loaded(tmp_path, MY_FILM.replace(CHOICES, choices))

    def wrong(**named: str) -> list[str]:
        asked = VideoGeneration(storyboard_id="sb", prompt="x", model="my-film", **named)
        return [each.description for each in validate_generation(asked, own, "my-film")]

    assert wrong() == []
    assert wrong(resolution="4k") == ["4k needs duration_seconds 8"], "the default duration is 4"
    assert wrong(duration_seconds="8") == ["720p needs duration_seconds 4"], "the default resolution is 720p"
    assert wrong(resolution="4k", duration_seconds="8") == []


def test_every_entry_takes_its_own_defaults(catalogue: Catalogue) -> None:
    for model in catalogue.models():
        if model.refuse:
            continue
        ask = VideoGeneration if model.kind == "video" else ImageGeneration
        frozen, _ = freeze_generation(ask(storyboard_id="sb", prompt="x", model=model.name), catalogue, model.name)
        assert validate_generation(frozen, catalogue, model.name) == []


@pytest.mark.parametrize(
    "choices",
    [
        CHOICES + '\ndefault_aspect_ratio = "1:1"',
        CHOICES + '\ndefault_duration = "4"',
        CHOICES + '\ndefault_resolution = "1080p"',
        CHOICES + "\ndefault_duration = 8",
        CHOICES + '\nresolution_durations = { 720p = ["4"] }',
        CHOICES.replace('["8"]', "[]"),
        CHOICES.replace('["720p"]', "[]"),
        CHOICES.replace('["16:9"]', "[]"),
        CHOICES.replace('["8"]', '["eight"]'),
    ],
)
def test_a_default_that_the_model_has_not_is_refused_at_load(tmp_path: Path, choices: str) -> None:
    with pytest.raises(CatalogueError, match="my-film"):
        loaded(tmp_path, MY_FILM.replace(CHOICES, choices))


def test_a_picture_without_choices_of_shape_has_none(tmp_path: Path) -> None:
    image = MY_FILM.replace('"video"', '"image"').replace("veo_vertex", "gemini_image").replace("second", "image")
    own = loaded(tmp_path, image.replace(CHOICES, "aspect_ratios = []"))
    asked = ImageGeneration(storyboard_id="sb", prompt="x", model="my-film")
    assert freeze_generation(asked, own, "my-film")[0].aspect_ratio == ""
    asked.aspect_ratio = "16:9"
    assert [each.field for each in validate_generation(asked, own, "my-film")] == ["aspect_ratio"]
