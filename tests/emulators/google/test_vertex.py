"""Veo on Vertex: both modes with the real client, what may be asked there, and who may ask."""

import base64
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from PIL import Image

from tests.emulators.google_fixture import (
    FRAMES_PER_SECOND,
    KEY,
    VERTEX_MODEL,
    VERTEX_TOKEN,
    VIDEO_MODEL,
    Film,
    GoogleEmulator,
    encode,
    mean_difference,
    report,
    script,
)
from tests.waiting import wait_for

PROJECT = "projects/story/locations/us-central1"
EXPRESS = f"/v1beta1/publishers/google/models/{VERTEX_MODEL}"
IN_PROJECT = f"/v1beta1/{PROJECT}/publishers/google/models/{VERTEX_MODEL}"
BEARER = {"authorization": f"Bearer {VERTEX_TOKEN}"}


@pytest.fixture
def client(emulator: GoogleEmulator) -> Iterator[httpx.Client]:
    """A caller of a project: it has a token, and no key."""
    with httpx.Client(base_url=emulator.url, headers=BEARER, timeout=90, trust_env=False) as http:
        http.post("/_emulator/reset").raise_for_status()
        yield http


@pytest.fixture(params=["express", "project"])
async def google(emulator: GoogleEmulator, client: httpx.Client, request: Any) -> AsyncIterator[genai.Client]:
    del client
    options = types.HttpOptions(base_url=emulator.url, api_version="v1beta1", timeout=90_000)
    if request.param == "express":
        made = genai.Client(vertexai=True, api_key=KEY, http_options=options)
    else:
        who = Credentials(token=VERTEX_TOKEN)  # type: ignore[no-untyped-call]
        made = genai.Client(
            vertexai=True, project="story", location="us-central1", credentials=who, http_options=options
        )
    yield made
    await made.aio.aclose()
    made.close()


def picture() -> Image.Image:
    return Image.radial_gradient("L").resize((640, 360)).convert("RGB")


def submit(
    client: httpx.Client, *, prompt: str = "a lighthouse", path: str = IN_PROJECT, **parts: Any
) -> httpx.Response:
    instance = {"prompt": prompt} | ({"image": parts.pop("image")} if "image" in parts else {})
    return client.post(f"{path}:predictLongRunning", json={"instances": [instance], "parameters": parts})


def fetch(client: httpx.Client, name: str, path: str = IN_PROJECT) -> httpx.Response:
    return client.post(f"{path}:fetchPredictOperation", json={"operationName": name})


def await_end(client: httpx.Client, name: str) -> dict[str, Any]:
    return wait_for(lambda: fetch(client, name).raise_for_status().json(), lambda body: "done" in body)


async def ended(google: genai.Client, operation: types.GenerateVideosOperation) -> types.GenerateVideosOperation:
    while not operation.done:
        operation = await google.aio.operations.get(operation)
    return operation


async def test_google_client_films_in_both_modes(google: genai.Client, client: httpx.Client) -> None:
    source = picture()
    submitted = await google.aio.models.generate_videos(
        model=VERTEX_MODEL,
        source=types.GenerateVideosSource(
            prompt="a fox in the hills",
            image=types.Image(image_bytes=encode(source), mime_type="image/png"),
        ),
        config=types.GenerateVideosConfig(
            aspect_ratio="16:9", duration_seconds=4, resolution="720p", seed=7, generate_audio=True
        ),
    )
    assert submitted.name is not None
    assert submitted.name.startswith("projects/")
    # Another process knows the name only.
    operation = await ended(google, types.GenerateVideosOperation.model_validate({"name": submitted.name}))
    assert operation.response is not None
    assert operation.response.generated_videos is not None
    video = operation.response.generated_videos[0].video
    assert video is not None
    assert video.video_bytes is not None
    assert video.mime_type == "video/mp4"
    film = Film(video.video_bytes)
    assert (film.names, film.frames, film.first.size) == (["h264", "aac"], 4 * FRAMES_PER_SECOND, (1280, 720))
    assert mean_difference(film.first, source.resize((1280, 720))) < 6
    summary = report(client)
    assert summary["accepted"] == {"image": 0, "video": 1}
    row = summary["requests"][0]
    assert (row["surface"], row["operation"], row["accepted"]) == ("vertex", submitted.name, True)


async def test_google_client_is_told_of_filters_and_errors(google: genai.Client, client: httpx.Client) -> None:
    source = types.GenerateVideosSource(prompt="a fox")
    script(client, {"on": "submit", "kind": "rai_filtered:58061214"}, {"on": "submit", "kind": "operation_error:8"})
    filtered = await ended(google, await google.aio.models.generate_videos(model=VERTEX_MODEL, source=source))
    assert filtered.response is not None
    assert filtered.response.rai_media_filtered_count == 1
    assert "Support codes: 58061214" in (filtered.response.rai_media_filtered_reasons or [""])[0]
    assert not filtered.response.generated_videos
    failed = await ended(google, await google.aio.models.generate_videos(model=VERTEX_MODEL, source=source))
    assert failed.error == {"code": 8, "message": "The service is currently out of capacity."}
    script(client, {"on": "submit", "kind": "rate_limited_minute"})
    with pytest.raises(errors.ClientError) as caught:
        await google.aio.models.generate_videos(model=VERTEX_MODEL, source=source)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert report(client)["accepted"]["video"] == 2


async def test_preview_names_are_not_on_vertex(google: genai.Client, client: httpx.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await google.aio.models.generate_videos(model=VIDEO_MODEL, source=types.GenerateVideosSource(prompt="a fox"))
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    assert f"publishers/google/models/{VIDEO_MODEL}` was not found" in str(caught.value)
    assert report(client)["accepted"]["video"] == 0


def test_vertex_names_are_not_on_the_gemini_api(emulator: GoogleEmulator) -> None:
    with emulator.client() as client:
        path = f"/v1beta/models/{VERTEX_MODEL}:predictLongRunning"
        assert client.post(path, json={"instances": [{"prompt": "x"}]}).status_code == 404


@pytest.mark.parametrize(
    ("headers", "path", "code", "reason"),
    [
        ({}, IN_PROJECT, 401, "CREDENTIALS_MISSING"),
        ({"authorization": "Bearer wrong"}, IN_PROJECT, 401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ({"x-goog-api-key": KEY}, IN_PROJECT, 401, "CREDENTIALS_MISSING"),
        ({}, EXPRESS, 401, "CREDENTIALS_MISSING"),
        ({"x-goog-api-key": "wrong"}, EXPRESS, 400, "API_KEY_INVALID"),
    ],
)
def test_who_is_turned_away(
    emulator: GoogleEmulator, headers: dict[str, str], path: str, code: int, reason: str
) -> None:
    with httpx.Client(base_url=emulator.url, headers=headers, trust_env=False) as client:
        error = submit(client, path=path).json()["error"]
        assert (error["code"], error["details"][0]["reason"]) == (code, reason)
        assert error["details"][0]["metadata"] == {"service": "aiplatform.googleapis.com"}
        assert fetch(client, "x", path).json()["error"]["code"] == code


def test_without_a_token_no_project_is_open(tmp_path: Path) -> None:
    with (
        GoogleEmulator(tmp_path, "--vertex-token", "").running() as emulator,
        httpx.Client(base_url=emulator.url, headers=BEARER, trust_env=False) as client,
    ):
        assert submit(client).status_code == 401


@pytest.mark.parametrize("duration", [4, 6, 8])
def test_full_hd_of_every_length_is_accepted(client: httpx.Client, duration: int) -> None:
    script(client, {"on": "submit", "kind": "empty_operation"})
    name = submit(client, resolution="1080p", durationSeconds=duration, seed=1).json()["name"]
    assert await_end(client, name) == {"name": name, "done": True}


def test_silent_film_in_full_hd(client: httpx.Client) -> None:
    name = submit(client, resolution="1080p", durationSeconds=4, generateAudio=False).json()["name"]
    response = await_end(client, name)["response"]
    assert response["raiMediaFilteredCount"] == 0
    film = Film(base64.b64decode(response["videos"][0]["bytesBase64Encoded"], validate=True))
    assert (film.names, film.frames, film.first.size) == (["h264"], 4 * FRAMES_PER_SECOND, (1920, 1080))


def test_bucket_gets_the_films(client: httpx.Client) -> None:
    name = submit(client, storageUri="gs://bucket/films/", durationSeconds=4, sampleCount=2).json()["name"]
    videos = await_end(client, name)["response"]["videos"]
    short = name.rpartition("/")[2]
    assert videos == [
        {"gcsUri": f"gs://bucket/films/{short}/sample_{n}.mp4", "mimeType": "video/mp4"} for n in range(2)
    ]


@pytest.mark.parametrize(
    ("request_parts", "message"),
    [
        ({"durationSeconds": 5}, "out of bound"),
        ({"resolution": "480p"}, "resolution"),
        ({"seed": -1}, "seed"),
        ({"seed": "7"}, "seed"),
        ({"generateAudio": "yes"}, "generateAudio"),
        ({"sampleCount": 5}, "sampleCount"),
        ({"personGeneration": "allow_all"}, "allow_all"),
        ({"storageUri": "s3://bucket"}, "storageUri"),
    ],
)
def test_what_is_refused(client: httpx.Client, request_parts: dict[str, Any], message: str) -> None:
    error = submit(client, **request_parts).json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert report(client)["accepted"]["video"] == 0


def test_people_in_a_picture_are_allowed_here(client: httpx.Client) -> None:
    script(client, {"on": "submit", "kind": "empty_operation"})
    image = {"bytesBase64Encoded": base64.b64encode(encode(picture())).decode(), "mimeType": "image/png"}
    assert submit(client, image=image, personGeneration="allow_adult").status_code == 200


def test_lite_model_has_no_4k(client: httpx.Client) -> None:
    path = IN_PROJECT.replace("-fast-", "-lite-")
    assert submit(client, path=path, resolution="4k").status_code == 400
    assert client.get(path).json()["name"] == "publishers/google/models/veo-3.1-lite-generate-001"


def test_operation_belongs_to_its_project(emulator: GoogleEmulator, client: httpx.Client) -> None:
    script(client, {"on": "submit", "kind": "empty_operation"})
    name = submit(client).json()["name"]
    other = IN_PROJECT.replace("/story/", "/other/")
    assert fetch(client, name, other).status_code == 400
    assert fetch(client, name.replace("/story/", "/other/"), other).status_code == 404
    with emulator.client() as by_key:
        assert fetch(by_key, name, IN_PROJECT).status_code == 401


def test_submits_and_polls_can_be_scripted(client: httpx.Client) -> None:
    script(client, {"on": "submit", "drop": "before_accept"}, {"on": "submit", "drop": "after_accept"})
    for paid in (0, 1):
        with pytest.raises(httpx.RemoteProtocolError):
            submit(client, durationSeconds=4)
        assert report(client)["accepted"]["video"] == paid
    name = report(client)["requests"][1]["operation"]
    script(client, {"on": "poll", "status": 503}, {"on": "submit", "kind": "blocked_prompt"})
    assert fetch(client, name).json()["error"]["status"] == "UNAVAILABLE"
    refused = submit(client)
    assert (refused.status_code, "Support codes: 58061214" in refused.text) == (400, True)
    assert "videos" in await_end(client, name)["response"]
    assert report(client)["accepted"]["video"] == 1


def test_operation_outlives_a_kill(tmp_path: Path) -> None:
    emulator = GoogleEmulator(tmp_path)
    with emulator.running(), httpx.Client(base_url=emulator.url, headers=BEARER, trust_env=False) as client:
        name = submit(client, durationSeconds=4).json()["name"]
        emulator.stop(signal.SIGKILL)
    head = (tmp_path / "requests.jsonl").read_text().splitlines()[0]
    (tmp_path / "requests.jsonl").write_text(f"{head}\n")
    with emulator.running(), httpx.Client(base_url=emulator.url, headers=BEARER, trust_env=False) as client:
        summary = report(client)
        assert summary["accepted"] == {"image": 0, "video": 1}
        assert summary["requests"][0]["path"] == f"{IN_PROJECT}:predictLongRunning"
        data = await_end(client, name)["response"]["videos"][0]["bytesBase64Encoded"]
        assert Film(base64.b64decode(data)).frames == 4 * FRAMES_PER_SECOND
