"""Pictures from the emulator, asked for with Google's own client and by hand."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types
from PIL import Image

from tests.emulators.google_fixture import (
    IMAGE_MODEL,
    KEY,
    GoogleEmulator,
    changed_share,
    encode,
    make_picture,
    mean_difference,
    open_png,
    report,
    script,
)


@pytest.fixture(scope="module")
def emulator_options() -> tuple[str, ...]:
    return ("--retired", "gemini-3-pro-image")


@pytest.fixture(scope="module")
def source() -> Image.Image:
    return Image.radial_gradient("L").resize((640, 400)).convert("RGB")


def inline(data: bytes, mime_type: str = "image/png") -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(data).decode()}}


def picture_of(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    part = response.json()["candidates"][0]["content"]["parts"][-1]["inlineData"]
    assert part["mimeType"] == "image/png"
    return open_png(base64.b64decode(part["data"], validate=True))


async def ask_google_client(
    emulator: GoogleEmulator, contents: list[Any], config: types.GenerateContentConfig | None = None
) -> types.GenerateContentResponse:
    options = types.HttpOptions(base_url=emulator.url, api_version="v1beta", timeout=90_000)
    client = genai.Client(api_key=KEY, http_options=options)
    try:
        return await client.aio.models.generate_content(model=IMAGE_MODEL, contents=contents, config=config)
    finally:
        await client.aio.aclose()
        client.close()


def inline_bytes(response: types.GenerateContentResponse) -> bytes:
    assert response.parts is not None
    blob = response.parts[-1].inline_data
    assert blob is not None
    assert blob.data is not None
    return blob.data


async def test_google_client_gets_a_picture(emulator: GoogleEmulator, client: httpx.Client) -> None:
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"],
        image_config=types.ImageConfig(aspect_ratio="16:9"),
        safety_settings=[
            types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                threshold=types.HarmBlockThreshold.BLOCK_ONLY_HIGH,
            )
        ],
    )
    response = await ask_google_client(emulator, ["a lighthouse"], config)
    assert open_png(inline_bytes(response)).size == (1344, 768)
    assert response.candidates is not None
    assert response.candidates[0].finish_reason == types.FinishReason.STOP
    assert response.text
    assert response.usage_metadata is not None
    assert response.usage_metadata.candidates_token_count
    assert report(client)["accepted"] == {"image": 1, "video": 0}


async def test_google_client_edits_at_the_size_of_the_source(emulator: GoogleEmulator, source: Image.Image) -> None:
    part = types.Part.from_bytes(data=encode(source, "JPEG"), mime_type="image/jpeg")
    response = await ask_google_client(emulator, ["make it evening", part])
    edited = open_png(inline_bytes(response))
    assert edited.size == source.size
    assert changed_share(source, edited) > 0.3
    assert mean_difference(source, edited) < 90, "the composition should be recognisable"


def test_reference_with_a_ratio_is_a_new_picture(client: httpx.Client, source: Image.Image) -> None:
    parts = inline(encode(source)), inline(encode(source))
    response = make_picture(client, *parts, imageConfig={"aspectRatio": "9:16"})
    assert picture_of(response).size == (768, 1344)


@pytest.mark.parametrize("size", [(1, 1), (30, 400), (97, 96)])
def test_edit_of_an_odd_source(client: httpx.Client, size: tuple[int, int]) -> None:
    source = Image.new("RGB", size, (200, 50, 0))
    edited = picture_of(make_picture(client, inline(encode(source))))
    assert edited.size == size
    assert changed_share(source, edited) > 0.05


@pytest.mark.parametrize(
    ("ratio", "size"), [(None, (1024, 1024)), ("3:4", (864, 1184)), ("21:9", (1536, 672)), ("8:1", (3072, 384))]
)
def test_sizes(client: httpx.Client, ratio: str | None, size: tuple[int, int]) -> None:
    config: dict[str, Any] = {} if ratio is None else {"imageConfig": {"aspectRatio": ratio}}
    assert picture_of(make_picture(client, **config)).size == size


def test_prompt_decides_the_picture(client: httpx.Client) -> None:
    one, same, other = (picture_of(make_picture(client, prompt=text)) for text in ("sea", "sea", "wood"))
    assert one.tobytes() == same.tobytes()
    assert changed_share(one, other) > 0.05


@pytest.mark.parametrize("image_size", ["2K", None])
def test_snake_case_and_url_safe_base64_are_accepted(
    client: httpx.Client, source: Image.Image, image_size: str | None
) -> None:
    data = base64.urlsafe_b64encode(encode(source)).decode().rstrip("=")
    parts = [{"text": "make it blue"}, {"inline_data": {"mime_type": "image/png", "data": data}}]
    body: dict[str, Any] = {"contents": {"parts": parts}}
    if image_size is not None:
        image_config = {"aspect_ratio": "1:1", "image_size": image_size}
        body["generation_config"] = {"response_modalities": ["IMAGE"], "image_config": image_config}
    response = client.post(f"/v1/models/{IMAGE_MODEL}:generateContent", json=body)
    assert picture_of(response).size == ((2048, 2048) if image_size else source.size)
    assert len(response.json()["candidates"][0]["content"]["parts"]) == (1 if image_size else 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"imageConfig": {"aspectRatio": "7:5"}}, "aspect_ratio must be one of"),
        ({"imageConfig": {"imageSize": "512"}}, "image_size must be one of"),
        ({"imageConfig": {"personGeneration": "x"}}, 'Unknown name "personGeneration"'),
        ({"responseModalities": ["SMELL"]}, "response_modalities"),
    ],
)
def test_wrong_config_is_refused(client: httpx.Client, config: dict[str, Any], message: str) -> None:
    response = make_picture(client, **config)
    error = response.json()["error"]
    assert (response.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert report(client)["accepted"]["image"] == 0


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (inline(b"no picture"), "Unable to process input image"),
        (inline(b"x", "text/plain"), "Unsupported MIME type: text/plain"),
        ({"inlineData": {"mimeType": "image/png", "data": "***"}}, "Base64 decoding failed"),
    ],
)
def test_wrong_input_picture_is_refused(client: httpx.Client, part: dict[str, Any], message: str) -> None:
    response = make_picture(client, part)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_key_is_checked_as_google_does(emulator: GoogleEmulator, client: httpx.Client) -> None:
    path = f"/v1beta/models/{IMAGE_MODEL}:generateContent"
    missing = httpx.post(emulator.url + path, json={}, trust_env=False)
    assert (missing.status_code, missing.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    wrong = client.post(path, json={}, headers={"x-goog-api-key": "another"})
    error = wrong.json()["error"]
    assert (wrong.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["message"] == "API key not valid. Please pass a valid API key."
    assert error["details"][0]["reason"] == "API_KEY_INVALID"
    by_query = httpx.get(f"{emulator.url}/v1beta/models/{IMAGE_MODEL}?key={KEY}", trust_env=False)
    assert by_query.json()["name"] == f"models/{IMAGE_MODEL}"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gemini-2.5-flash-image-preview", "is no longer available"),
        ("gemini-3-pro-image", "is no longer available"),
        ("gemini-9", "is not found for API version v1beta"),
        ("veo-3.1-fast-generate-preview", "is not supported for generateContent"),
    ],
)
def test_models_that_do_not_answer(client: httpx.Client, model: str, message: str) -> None:
    response = make_picture(client, model=model)
    assert (response.status_code, response.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize("model", ["gemini-3.1-flash-lite-image", "gemini-2.5-flash-image"])
def test_models_that_answer(client: httpx.Client, model: str) -> None:
    response = make_picture(client, model=model)
    assert picture_of(response).size == (1024, 1024)
    assert response.json()["modelVersion"] == model


@pytest.mark.parametrize(
    ("kind", "reason"), [("image_safety", "IMAGE_SAFETY"), ("no_image", "NO_IMAGE"), ("no_image_text", "STOP")]
)
async def test_refusals_are_paid_answers(
    emulator: GoogleEmulator, client: httpx.Client, kind: str, reason: str
) -> None:
    script(client, {"on": "image", "kind": kind})
    response = await ask_google_client(emulator, ["a lighthouse"])
    assert response.candidates is not None
    assert response.candidates[0].finish_reason == types.FinishReason[reason]
    assert not any(part.inline_data for part in response.parts or [])
    summary = report(client)
    assert summary["accepted"]["image"] == 1
    assert summary["requests"][0]["refusal"] == kind


async def test_blocked_prompt_has_no_candidates(emulator: GoogleEmulator, client: httpx.Client) -> None:
    script(client, {"on": "image", "kind": "blocked_prompt"})
    response = await ask_google_client(emulator, ["a lighthouse"])
    assert response.candidates is None
    assert response.prompt_feedback is not None
    assert response.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT


def test_unknown_path(client: httpx.Client, tmp_path: Path) -> None:
    assert client.get(f"/{tmp_path.name}").json()["error"]["status"] == "NOT_FOUND"
    assert client.delete(f"/v1beta/models/{IMAGE_MODEL}").status_code == 405
