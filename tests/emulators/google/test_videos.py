"""Films from the emulator: submit, poll, download, and what is refused."""

import base64
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types
from PIL import Image

from tests.emulators.google_fixture import (
    FRAMES_PER_SECOND,
    KEY,
    VIDEO_MODEL,
    Film,
    GoogleEmulator,
    await_operation,
    changed_share,
    download,
    encode,
    mean_difference,
    report,
    script,
    submit_video,
)


def picture(size: tuple[int, int]) -> Image.Image:
    gradient = Image.radial_gradient("L").resize(size)
    return Image.merge("RGB", (gradient, gradient.rotate(180), Image.linear_gradient("L").resize(size)))


def veo_image(source: Image.Image) -> dict[str, str]:
    return {"bytesBase64Encoded": base64.b64encode(encode(source)).decode(), "mimeType": "image/png"}


def make_film(client: httpx.Client, **request: Any) -> Film:
    response = submit_video(client, **request)
    assert response.status_code == 200, response.text
    operation = await_operation(client, response.json()["name"])
    return Film(download(client, operation))


def test_text_to_video(client: httpx.Client) -> None:
    film = make_film(client, prompt="a fox in the hills", durationSeconds=4, aspectRatio="9:16")
    assert film.names == ["h264", "aac"]
    assert (film.frames, film.rate, film.first.size) == (4 * FRAMES_PER_SECOND, FRAMES_PER_SECOND, (720, 1280))
    assert film.loudest > 0.05
    assert film.fast_start
    assert changed_share(film.first, film.last) > 0.05


def test_image_to_video_begins_with_the_image(client: httpx.Client) -> None:
    source = picture((1344, 768))
    film = make_film(client, image=veo_image(source), durationSeconds=4)
    assert (film.frames, film.first.size) == (4 * FRAMES_PER_SECOND, (1280, 720))
    assert mean_difference(film.first, source.resize((1280, 720))) < 6
    assert changed_share(film.first, film.last) > 0.05


def test_full_hd_is_eight_seconds(client: httpx.Client) -> None:
    assert submit_video(client, resolution="1080p", durationSeconds=4).status_code == 400
    film = make_film(client, resolution="1080p", aspectRatio="16:9", durationSeconds=8)
    assert (film.frames, film.first.size) == (8 * FRAMES_PER_SECOND, (1920, 1080))


def test_snake_case_parameters_are_ignored(client: httpx.Client) -> None:
    film = make_film(client, prompt="snake", duration_seconds=4, aspect_ratio="9:16")
    assert (film.frames, film.first.size) == (8 * FRAMES_PER_SECOND, (1280, 720))


async def test_google_client_resumes_and_downloads(emulator: GoogleEmulator, client: httpx.Client) -> None:
    name = submit_video(client, durationSeconds=4).json()["name"]
    assert name.startswith(f"models/{VIDEO_MODEL}/operations/")
    await_operation(client, name)
    options = types.HttpOptions(base_url=emulator.url, api_version="v1beta", timeout=90_000)
    google = genai.Client(api_key=KEY, http_options=options)
    operation = await google.aio.operations.get(types.GenerateVideosOperation.model_validate({"name": name}))
    assert operation.response is not None
    assert operation.response.generated_videos is not None
    data = await google.aio.files.download(file=operation.response.generated_videos[0])
    await google.aio.aclose()
    google.close()
    assert data is not None
    assert data[4:8] == b"ftyp"


def test_file_resource_and_ranges(client: httpx.Client) -> None:
    operation = await_operation(client, submit_video(client, durationSeconds=4).json()["name"])
    whole = download(client, operation)
    uri = operation["response"]["generateVideoResponse"]["generatedSamples"][0]["video"]["uri"]
    file_id = uri.rpartition("/")[2].partition(":")[0]
    assert file_id.isalnum()
    assert file_id == file_id.lower()
    resource = client.get(f"/v1/files/{file_id}").json()
    assert resource["state"] == "ACTIVE"
    assert resource["sizeBytes"] == str(len(whole))
    path = f"/v1/files/{file_id}:download?alt=media"
    part = client.get(path, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    response = client.get(path)
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-length"] == str(len(whole))
    assert client.get(path, headers={"x-goog-api-key": "wrong"}).status_code == 400
    unknown = client.get("/v1beta/files/unknown1:download?alt=media")
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_unknown_operation(client: httpx.Client) -> None:
    response = client.get(f"/v1beta/models/{VIDEO_MODEL}/operations/nothere")
    assert (response.status_code, response.json()["error"]["status"]) == (404, "NOT_FOUND")


URL_SAFE = {"bytesBase64Encoded": base64.urlsafe_b64encode(b"\xfb\xff\xfe" * 9).decode(), "mimeType": "image/png"}


@pytest.mark.parametrize(
    ("request_parts", "message"),
    [
        ({"durationSeconds": "8"}, "needs to be a number"),
        ({"durationSeconds": 5}, "out of bound"),
        ({"aspectRatio": "1:1"}, "aspectRatio"),
        ({"resolution": "480p"}, "resolution"),
        ({"prompt": ""}, "prompt"),
        ({"seed": 1}, "seed"),
        ({"sampleCount": 2}, "sampleCount"),
        ({"personGeneration": "allow_adult", "image": veo_image(picture((64, 64)))}, "allow_adult"),
        ({"image": {"bytesBase64Encoded": "eA==", "mime_type": "image/png"}}, "should contain both"),
        ({"image": {"bytesBase64Encoded": "eA==", "mimeType": "image/png"}}, "Unable to process input image"),
        ({"image": URL_SAFE}, "not valid base64"),
    ],
)
def test_what_is_refused(client: httpx.Client, request_parts: dict[str, Any], message: str) -> None:
    response = submit_video(client, **request_parts)
    error = response.json()["error"]
    assert (response.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert report(client)["accepted"]["video"] == 0


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("empty_operation", {}),
        ("operation_error:8", {"error": {"code": 8, "message": "The service is currently out of capacity."}}),
    ],
)
def test_operations_that_end_without_a_film(client: httpx.Client, kind: str, end: dict[str, Any]) -> None:
    script(client, {"on": "submit", "kind": kind})
    name = submit_video(client).json()["name"]
    assert await_operation(client, name) == {"name": name, "done": True} | end
    assert report(client)["accepted"]["video"] == 1


def test_filtered_operation_names_its_support_code(client: httpx.Client) -> None:
    script(client, {"on": "submit", "kind": "rai_filtered"})
    body = await_operation(client, submit_video(client).json()["name"])
    result = body["response"]["generateVideoResponse"]
    assert result["raiMediaFilteredCount"] == 1
    assert "Support codes: 15236754" in result["raiMediaFilteredReasons"][0]
    assert "generatedSamples" not in result
