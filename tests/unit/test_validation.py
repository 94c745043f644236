import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from superstoryboard.domain.errors import ErrorClass
from superstoryboard.providers.catalogue import SHIPPED, Catalogue
from superstoryboard.providers.validation import (
    InvalidGeneration,
    Violation,
    describe,
    freeze_body,
    freeze_generation,
    normalise_body,
    parse_generation,
    validate_generation,
)
from superstoryboard.v1.job_pb2 import Asset, ImageGeneration, VideoGeneration

IMAGE = {"storyboardId": "sb-1", "sceneId": "scene-001", "prompt": "a red door"}
CATALOGUE = Catalogue.load()


def freeze(kind: str, body: object) -> Any:
    return freeze_body(kind, body, CATALOGUE, CATALOGUE.default_name(kind))[0]


def problems(kind: str, body: object) -> dict[str, str]:
    with pytest.raises(InvalidGeneration) as caught:
        freeze(kind, body)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_a_body_is_normalised_before_it_is_judged() -> None:
    body: dict[str, Any] = IMAGE | {"sceneId": 7, "characterId": None, "durationSeconds": 8.0, "extra": {"deep": [1]}}
    assert normalise_body("video", body) == {
        "storyboardId": "sb-1",
        "sceneId": "7",
        "prompt": "a red door",
        "durationSeconds": "8",
    }


@pytest.mark.parametrize(
    ("value", "text"), [(8, "8"), (8.0, "8"), (-0.0, "0"), (1.5, "1.5"), (2**60, str(2**60)), (1e300, "1e+300")]
)
def test_numbers_become_the_strings_that_are_meant(value: float, text: str) -> None:
    assert normalise_body("image", {"sceneId": value}) == {"sceneId": text}


@pytest.mark.parametrize(
    "value", [True, [], ["x"], {}, {"a": 1}, float("nan"), float("inf"), pytest.param(10**5000, id="huge")]
)
def test_other_types_in_a_string_field_are_named(value: object) -> None:
    assert problems("image", IMAGE | {"sceneId": value}) == {"sceneId": "must be a string"}


@pytest.mark.parametrize("value", ["true", 1, 0, "", [], 1.0])
def test_edit_mode_is_true_or_false_only(value: object) -> None:
    assert problems("image", IMAGE | {"editMode": value}) == {"editMode": "must be true or false"}


@pytest.mark.parametrize("body", [[1, 2], "hi", 3, 1.5, True, None, [], b"x"])
def test_a_body_that_is_no_object_says_so(body: object) -> None:
    assert problems("image", body) == {"body": "must be a JSON object"}
    with pytest.raises(InvalidGeneration, match="body must be a JSON object"):
        parse_generation("video", body)


def test_an_empty_object_misses_what_is_required() -> None:
    assert set(problems("video", {})) == {"storyboardId", "prompt"}


def test_hostile_strings_are_named() -> None:
    assert problems("image", IMAGE | {"prompt": "lone \ud800"}) == {"prompt": "must be valid Unicode text"}
    assert problems("image", IMAGE | {"prompt": "nul \0 inside"}) == {"prompt": "must not contain U+0000"}
    assert problems("image", IMAGE | {"sceneId": "\0"})["sceneId"] == "must not contain U+0000"
    huge = problems("image", IMAGE | {"prompt": "x" * 10_000_000})
    assert huge == {"prompt": "must be at most 32000 characters, is 10000000"}


def test_length_counts_characters_not_bytes() -> None:
    assert freeze("video", IMAGE | {"prompt": "🦊" * 4000}).prompt == "🦊" * 4000
    assert problems("video", IMAGE | {"prompt": "🦊" * 4001}) == {"prompt": "must be at most 4000 characters, is 4001"}


def test_every_broken_rule_is_reported_at_once() -> None:
    body = {
        "storyboardId": "../etc",
        "sceneId": [],
        "characterId": ".hidden",
        "prompt": "  ",
        "sourceImageUrl": "ftp://host/x",
        "aspectRatio": "4:3",
        "durationSeconds": 5,
        "resolution": "1080p",
        "model": "gemini-nano-banana-2.1",
    }
    rules = problems("video", body)
    assert set(rules) == set(body)
    assert rules["durationSeconds"] == "must be one of 4, 6, 8"
    assert rules["resolution"] == "1080p needs durationSeconds 8"
    assert rules["aspectRatio"] == "must be one of 16:9, 9:16"
    assert rules["model"].startswith("must be one of gemini-omni-1.1-flash, ")


def test_a_wrong_type_is_not_reported_twice() -> None:
    assert problems("image", IMAGE | {"prompt": []}) == {"prompt": "must be a string"}


def test_violations_read_as_one_sentence() -> None:
    with pytest.raises(InvalidGeneration) as caught:
        freeze("video", {"storyboardId": "sb", "durationSeconds": 5})
    assert caught.value.error.message == "prompt must not be empty; durationSeconds must be one of 4, 6, 8"
    assert caught.value.error.code == "INVALID_ARGUMENT"
    assert caught.value.error.error_class is ErrorClass.INVALID
    assert describe([]) == ""


def test_proto_style_names_the_fields_of_the_protos() -> None:
    message = VideoGeneration(storyboard_id="sb", prompt="x", duration_seconds="6", resolution="1080p")
    default = CATALOGUE.default_name("video")
    assert validate_generation(message, CATALOGUE, default) == [
        Violation("resolution", "1080p needs duration_seconds 8")
    ]
    assert validate_generation(message, CATALOGUE, default, style="json") == [
        Violation("resolution", "1080p needs durationSeconds 8")
    ]


def test_an_edit_needs_a_source() -> None:
    assert problems("image", IMAGE | {"editMode": True}) == {"sourceImageUrl": "is required when editMode is true"}
    message = ImageGeneration(storyboard_id="sb", prompt="x", edit_mode=True)
    assert validate_generation(message, CATALOGUE, CATALOGUE.default_name("image")) == [
        Violation("source_image_url", "is required when edit_mode is true")
    ]


def test_an_unknown_default_model_is_a_violation_not_a_crash() -> None:
    message = ImageGeneration(storyboard_id="sb", prompt="x")
    assert [violation.field for violation in validate_generation(message, CATALOGUE, "no-such")] == ["model"]


def test_a_refused_model_names_its_replacement(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(SHIPPED.read_text("utf-8").replace("2026-01-15", "2026-01-15\nrefuse = true"), "utf-8")
    catalogue = Catalogue.load(path)
    body = IMAGE | {"model": "gemini-2.5-flash-image-preview"}
    with pytest.raises(InvalidGeneration, match=r"replacement gemini-nano-banana-2\.1") as caught:
        freeze_body("image", body, catalogue, catalogue.default_name("image"))
    assert caught.value.error.code == "MODEL_RETIRED"


def test_a_retired_model_is_still_the_one_that_is_called() -> None:
    assert freeze("image", IMAGE | {"model": "gemini-2.5-flash-image-preview"}).model == (
        "gemini-2.5-flash-image-preview"
    )


@pytest.mark.parametrize("ratio", ["1:1", "21:9", "8:1"])
def test_aspect_ratios_are_the_models_own(ratio: str) -> None:
    assert freeze("image", IMAGE | {"aspectRatio": ratio})
    if ratio == "8:1":
        assert set(problems("image", IMAGE | {"aspectRatio": ratio, "model": "gemini-3-pro-image"})) == {"aspectRatio"}


def test_freezing_fills_every_default() -> None:
    assert MessageToDict(freeze("image", IMAGE)) == IMAGE | {
        "aspectRatio": "16:9",
        "model": CATALOGUE.default_name("image"),
    }
    assert MessageToDict(freeze("video", IMAGE)) == IMAGE | {
        "aspectRatio": "16:9",
        "durationSeconds": "8",
        "resolution": "720p",
        "model": CATALOGUE.default_name("video"),
    }


def test_an_edit_keeps_an_empty_aspect_ratio() -> None:
    edit = IMAGE | {"editMode": True, "sourceImageUrl": "https://host/x.png"}
    frozen = freeze("image", edit)
    assert MessageToDict(frozen) == edit | {"model": CATALOGUE.default_name("image")}
    assert freeze("image", edit | {"aspectRatio": "1:1"}).aspect_ratio == "1:1"


def test_freezing_leaves_the_given_message_alone_and_is_stable() -> None:
    message = VideoGeneration(storyboard_id="sb", prompt="x", duration_seconds="4")
    frozen, _ = freeze_generation(message, CATALOGUE, CATALOGUE.default_name("video"))
    assert message == VideoGeneration(storyboard_id="sb", prompt="x", duration_seconds="4")
    assert freeze_generation(frozen, CATALOGUE, "another")[0] == frozen


def test_a_frozen_generation_survives_its_own_message_body() -> None:
    frozen = freeze("video", IMAGE)
    assert freeze("video", json.loads(json.dumps(MessageToDict(frozen)))) == frozen


def test_only_generations_can_be_judged() -> None:
    with pytest.raises(TypeError, match="Asset is no generation"):
        validate_generation(Asset(), CATALOGUE, "x")


def test_validation_and_media_load_neither_google_genai_nor_codecs() -> None:
    code = (
        "import sys, superstoryboard.providers.validation, superstoryboard.media\n"
        "print([name for name in ('google.genai', 'av', 'grpc', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=90)
    assert done.stdout.strip() == "[]"
