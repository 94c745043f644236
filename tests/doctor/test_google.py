"""Doctor against the Google emulator: well, and with one thing broken each. Nothing here is paid for."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from devstack.stack.ports import free_port
from superstoryboard.providers.catalogue import SHIPPED
from tests.doctor.fixture import Doctor
from tests.emulators.google_fixture import IMAGE_MODEL, KEY, VIDEO_MODEL, GoogleEmulator, report, submit_video

RETIRED_TODAY = "gemini-3-pro-image"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleEmulator]:
    options = ("--retired", RETIRED_TODAY)
    with GoogleEmulator(tmp_path_factory.mktemp("google"), *options).running() as running:
        yield running


@pytest.fixture
def google(emulator: GoogleEmulator, doctor: Doctor) -> GoogleEmulator:
    doctor.hide(KEY)
    doctor.set(GOOGLE_GENERATIVE_AI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=emulator.url)
    doctor.set(IMAGE_MODEL=IMAGE_MODEL, VIDEO_MODEL=VIDEO_MODEL)
    return emulator


def bought(google: GoogleEmulator) -> dict[str, int]:
    """Paid calls so far."""
    with google.client() as client:
        accepted: dict[str, int] = report(client)["accepted"]
        return accepted


def test_a_good_key_and_models_pass_and_nothing_is_bought(doctor: Doctor, google: GoogleEmulator) -> None:
    result = doctor()
    assert (result.code, result.state("google key"), result.state("image model")) == (0, "ok", "ok")
    assert result.sentence("image model").startswith(f"{IMAGE_MODEL} can do the default 16:9")
    assert bought(google) == {"image": 0, "video": 0}


def test_a_model_past_its_date_that_still_answers_only_warns(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    result = doctor()
    assert (result.code, result.state("video model")) == (0, "warning")
    assert "passed its retirement date 2026-10-22" in result.sentence("video model")
    assert "Set VIDEO_MODEL to gemini-omni-1.1-flash" in result.sentence("video model")


def test_a_wrong_key(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    doctor.hide("a-wrong-key")
    doctor.set(GOOGLE_GENERATIVE_AI_API_KEY="a-wrong-key")
    result = doctor()
    assert (result.code, result.failed) == (1, ["google key"])
    assert result.sentence("google key") == (
        "GOOGLE_GENERATIVE_AI_API_KEY was rejected."
        " Create a key in Google AI Studio and set GOOGLE_GENERATIVE_AI_API_KEY to it."
    )


def test_a_model_that_the_catalogue_does_not_know(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    doctor.set(IMAGE_MODEL="gemini-of-dreams")
    result = doctor()
    assert (result.code, result.failed) == (1, ["image model"])
    assert "gemini-of-dreams is not in the catalogue. Set IMAGE_MODEL to one of" in result.sentence("image model")
    assert IMAGE_MODEL in result.sentence("image model")


def test_a_model_of_the_other_kind(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    doctor.set(IMAGE_MODEL=VIDEO_MODEL)
    assert f"{VIDEO_MODEL} generates videos" in doctor().sentence("image model")


def test_a_model_that_is_gone_names_its_successor(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    doctor.set(IMAGE_MODEL="gemini-3.1-flash-image")
    result = doctor()
    assert (result.code, result.failed) == (1, ["image model"])
    assert "gemini-3.1-flash-image is no longer available" in result.sentence("image model")
    assert f"Set IMAGE_MODEL to {IMAGE_MODEL}" in result.sentence("image model")


def test_a_model_that_is_gone_before_the_catalogue_knows(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    doctor.set(IMAGE_MODEL=RETIRED_TODAY)
    result = doctor()
    assert result.failed == ["image model"]
    assert f"{RETIRED_TODAY} is not available to this key" in result.sentence("image model")


def test_a_model_of_another_size_says_its_own_default(doctor: Doctor, google: GoogleEmulator, tmp_path: Path) -> None:
    del google
    entries = SHIPPED.read_text().replace('durations = ["4", "6", "8"]', 'durations = ["4"]')
    file = tmp_path / "catalogue.toml"
    file.write_text(entries)
    doctor.set(MODEL_CATALOGUE=str(file), VIDEO_MODEL="gemini-omni-1.1-flash")
    assert "can do the default 16:9, 4 s, 720p" in doctor().sentence("video model")


def test_a_catalogue_that_makes_no_sense(doctor: Doctor, google: GoogleEmulator, tmp_path: Path) -> None:
    del google
    file = tmp_path / "catalogue.toml"
    file.write_text("models = 3")
    doctor.set(MODEL_CATALOGUE=str(file))
    result = doctor()
    assert (result.code, result.failed) == (2, ["catalogue"])
    assert "Correct MODEL_CATALOGUE" in result.sentence("catalogue")


def test_another_service_or_version_answers(doctor: Doctor, google: GoogleEmulator) -> None:
    doctor.set(GOOGLE_GEMINI_BASE_URL=f"{google.url}/elsewhere")
    assert "Correct GOOGLE_GEMINI_BASE_URL" in doctor().sentence("google key")


def test_nobody_there_exits_3(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    doctor.set(GOOGLE_GEMINI_BASE_URL=f"http://127.0.0.1:{free_port()}")
    result = doctor()
    assert (result.code, result.failed) == (3, ["google key"])


def test_without_a_key_a_named_model_is_held_against_the_catalogue(doctor: Doctor) -> None:
    doctor.set(IMAGE_MODEL="gemini-of-dreams")
    result = doctor()
    assert (result.state("google key"), result.failed) == ("not set", ["image model"])


def test_spending_straight_from_google(doctor: Doctor, google: GoogleEmulator) -> None:
    before = bought(google)
    assert doctor.run("--spend", "--yes") == 0
    assert "about $0.0336" in doctor.err
    assert "directly from Google" in doctor.err
    assert "ok       image " in doctor.out
    assert "image/png, 1024x1024" in doctor.out
    assert bought(google) == {**before, "image": before["image"] + 1}


def test_a_refusal_is_reported(doctor: Doctor, google: GoogleEmulator) -> None:
    with google.client() as client:
        client.post("/_emulator/script", json=[{"on": "image", "kind": "blocked_prompt"}]).raise_for_status()
    result = doctor("--spend", "--yes")
    assert (result.code, result.failed) == (1, ["image"])
    assert "REFUSED/" in result.sentence("image")


@pytest.mark.parametrize(("answer", "code"), [("n\n", 0), ("", 1)])
def test_nothing_is_spent_without_a_yes(
    doctor: Doctor, google: GoogleEmulator, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    before = bought(google)
    monkeypatch.setattr("sys.stdin", StringIO(answer))
    assert doctor.run("--spend") == code
    assert "for about $0.0336? [y/N]" in doctor.err
    assert bought(google) == before


def test_a_yes_is_taken_as_one(doctor: Doctor, google: GoogleEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bought(google)
    monkeypatch.setattr("sys.stdin", StringIO("y\n"))
    assert doctor.run("--spend") == 0
    assert bought(google)["image"] == before["image"] + 1


def test_spending_needs_somebody_to_buy_from(doctor: Doctor) -> None:
    result = doctor("--spend", "--yes")
    assert (result.code, result.failed) == (1, ["image"])
    assert "neither ingest nor Google is reachable" in result.sentence("image")


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        (VIDEO_MODEL, (), f"Google lists 1 operations of {VIDEO_MODEL}; a lost one can be found"),
        (VIDEO_MODEL, ("--no-listing",), f"Google lists no operations of {VIDEO_MODEL}"),
        ("gemini-omni-1.1-flash", (), "route interactions of gemini-omni-1.1-flash has none"),
    ],
)
def test_spending_says_whether_a_lost_operation_could_be_found(
    doctor: Doctor, tmp_path: Path, model: str, options: tuple[str, ...], told: str
) -> None:
    with GoogleEmulator(tmp_path, *options).running() as emulator:
        with emulator.client() as client:
            submit_video(client).raise_for_status()
        doctor.set(GOOGLE_GENERATIVE_AI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=emulator.url, VIDEO_MODEL=model)
        assert told in doctor("--spend", "--yes").sentence("operation list")


def test_a_model_that_google_offers_no_more_names_its_successor(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    doctor.set(IMAGE_MODEL="imagen-4.0-generate-001")
    result = doctor()
    assert result.failed == ["image model"]
    assert "Set IMAGE_MODEL to gemini-nano-banana-2.1" in result.sentence("image model")


def test_a_model_of_another_way_is_not_checked(doctor: Doctor, google: GoogleEmulator) -> None:
    del google
    doctor.set(VIDEO_MODEL="veo-3.1-generate-001")
    result = doctor()
    assert (result.code, result.state("video model")) == (0, "warning")
    assert "is on route veo_vertex, which is not checked" in result.sentence("video model")
