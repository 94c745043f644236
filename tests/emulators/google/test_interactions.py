"""Gemini Omni by the Interactions API: the life of an interaction with the real client and by plain HTTP."""

import base64
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types
from PIL import Image

from tests.emulators.google_fixture import (
    FRAMES_PER_SECOND,
    KEY,
    OMNI_MODEL,
    Film,
    GoogleEmulator,
    await_interaction,
    create_interaction,
    mean_difference,
    report,
    script,
)
from tests.emulators.interaction_steps import file_path, film_of, image_content, video_format, video_of
from tests.waiting import wait_for


@pytest.fixture
async def google(emulator: GoogleEmulator, client: httpx.Client) -> AsyncIterator[genai.Client]:
    """The real client, told to call once: by itself it repeats paid calls."""
    del client
    options = types.HttpOptions(
        base_url=emulator.url,
        api_version="v1beta",
        timeout=90_000,
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    made = genai.Client(api_key=KEY, http_options=options)
    yield made
    await made.aio.aclose()
    made.close()


async def test_google_client_films_from_a_picture(google: genai.Client, client: httpx.Client) -> None:
    source = Image.radial_gradient("L").resize((1280, 720)).convert("RGB")
    content = [{"type": "text", "text": "waves crash"}, image_content(source)]
    created: Any = await google.aio.interactions.create(
        model=OMNI_MODEL,
        background=True,
        store=True,
        input=[{"type": "user_input", "content": content}],
        response_format=video_format(resolution="720p", aspect_ratio="16:9"),
        generation_config={"video_config": {"task": "image_to_video"}},
    )
    assert created.id.startswith("v1_")
    assert created.status == "in_progress"
    interaction: Any = created
    while interaction.status == "in_progress":
        interaction = await google.aio.interactions.get(created.id)
    assert interaction.status == "completed"
    video: Any = interaction.output_video
    assert interaction.usage.total_output_tokens == 3 * 5792
    file = await google.aio.files.get(name=f"files/{video.uri.rpartition('/')[2].partition(':')[0]}")
    assert file.state is types.FileState.ACTIVE
    film = Film(await google.aio.files.download(file=video.uri))
    assert (film.names, film.frames, film.first.size) == (["h264", "aac"], 3 * FRAMES_PER_SECOND, (1280, 720))
    assert mean_difference(film.first, source) < 6
    summary = report(client)
    assert summary["accepted"] == {"image": 0, "video": 1}
    expected = {"on": "submit", "path": "/v1beta/interactions", "surface": "interactions", "operation": created.id}
    assert expected.items() <= summary["requests"][0].items()


async def test_google_client_gets_errors_and_calls_once(google: genai.Client, client: httpx.Client) -> None:
    script(client, {"on": "submit", "kind": "internal", "times": 9})
    with pytest.raises(Exception, match="api_error") as caught:
        await google.aio.interactions.create(model=OMNI_MODEL, input="x", background=True)
    error: Any = caught.value
    assert (error.status_code, error.body["error"]["code"]) == (500, "api_error")
    assert len(report(client)["requests"]) == 1


async def test_google_client_cancels_and_deletes(google: genai.Client, client: httpx.Client) -> None:
    script(client, {"on": "submit", "queued_seconds": 600})
    created: Any = await google.aio.interactions.create(model=OMNI_MODEL, input="x", background=True)
    assert created.status == "queued"
    cancelled: Any = await google.aio.interactions.cancel(created.id)
    assert (cancelled.status, cancelled.output_video) == ("cancelled", None)
    with pytest.raises(Exception, match="failed_precondition"):
        await google.aio.interactions.cancel(created.id)
    await google.aio.interactions.delete(created.id)
    with pytest.raises(Exception, match="not_found"):
        await google.aio.interactions.get(created.id)
    assert report(client)["accepted"]["video"] == 1


def test_states_and_shape(client: httpx.Client) -> None:
    script(client, {"on": "submit", "queued_seconds": 2})
    created = create_interaction(client).json()
    assert created["status"] == "queued"
    assert created["object"] == "interaction"
    assert "steps" not in created
    path = f"/v1/interactions/{created['id']}?stream=false"
    begun = wait_for(lambda: client.get(path).json(), lambda body: body["status"] != "queued")
    assert begun["status"] in ("in_progress", "completed")
    interaction = await_interaction(client, created["id"])
    assert interaction["status"] == "completed"
    assert interaction["model"] == OMNI_MODEL
    assert interaction["usage"]["output_tokens_by_modality"] == [{"modality": "video", "tokens": 3 * 2896}]
    film = film_of(client, interaction)
    assert (film.frames, film.first.size) == (3 * FRAMES_PER_SECOND, (640, 360))


def test_full_hd_upright(client: httpx.Client) -> None:
    requested = video_format(resolution="1080p", aspect_ratio="9:16", duration="4s")
    interaction = await_interaction(client, create_interaction(client, response_format=requested).json()["id"])
    film = film_of(client, interaction)
    assert (film.frames, film.first.size) == (4 * FRAMES_PER_SECOND, (1080, 1920))


def test_answer_in_the_foreground_holds_the_film(client: httpx.Client) -> None:
    requested = video_format(delivery="inline")
    answer = create_interaction(client, background=None, store=False, response_format=requested).json()
    assert answer["status"] == "completed"
    assert Film(base64.b64decode(video_of(answer)["data"], validate=True)).frames == 3 * FRAMES_PER_SECOND
    assert client.get(f"/v1beta/interactions/{answer['id']}").status_code == 404


def test_large_film_is_not_inline(tmp_path: Path) -> None:
    with GoogleEmulator(tmp_path, "--inline-bytes", "1000").running() as emulator, emulator.client() as client:
        created = create_interaction(client, response_format=video_format(delivery="inline")).json()
        assert "data" not in video_of(await_interaction(client, created["id"]))


def test_completed_is_not_yet_downloadable(client: httpx.Client) -> None:
    script(client, {"on": "submit", "processing_seconds": 600}, {"on": "submit", "processing_seconds": 1})
    slow, quick = (create_interaction(client, prompt=name).json()["id"] for name in ("slow", "quick"))
    path = file_path(await_interaction(client, slow))
    assert client.get(path).json()["state"] == "PROCESSING"
    refused = client.get(f"{path}:download?alt=media")
    assert (refused.status_code, refused.json()["error"]["status"]) == (400, "FAILED_PRECONDITION")
    interaction = await_interaction(client, quick)
    ready = wait_for(lambda: client.get(file_path(interaction)).json(), lambda body: body["state"] == "ACTIVE")
    assert int(ready["sizeBytes"]) > 0
    assert film_of(client, interaction).frames == 3 * FRAMES_PER_SECOND


def test_file_that_never_becomes_active(client: httpx.Client) -> None:
    script(client, {"on": "submit", "kind": "file_failed"})
    interaction = await_interaction(client, create_interaction(client).json()["id"])
    assert interaction["status"] == "completed"
    assert client.get(file_path(interaction)).json()["state"] == "FAILED"


def test_newer_model_makes_longer_films(client: httpx.Client) -> None:
    script(client, {"on": "submit", "kind": "empty_operation", "times": 2})
    requested = video_format(duration="15s")
    assert create_interaction(client, response_format=requested).status_code == 400
    assert create_interaction(client, model="gemini-omni-1.2-flash", response_format=requested).status_code == 200


def test_every_step_can_be_scripted(client: httpx.Client) -> None:
    script(client, {"on": "submit", "drop": "before_accept"}, {"on": "submit", "drop": "after_accept"})
    for paid in (0, 1):
        with pytest.raises(httpx.RemoteProtocolError):
            create_interaction(client)
        assert report(client)["accepted"]["video"] == paid
    name = report(client)["requests"][1]["operation"]
    script(client, {"on": "poll", "status": 503}, {"on": "file", "status": 500}, {"on": "cancel", "status": 409})
    assert client.get(f"/v1beta/interactions/{name}").json()["error"]["code"] == "service_unavailable"
    assert client.post(f"/v1beta/interactions/{name}/cancel").json()["error"]["code"] == "aborted"
    path = file_path(await_interaction(client, name))
    assert client.get(path).json()["error"]["status"] == "INTERNAL"
    assert client.get(path).json()["state"] == "ACTIVE"


def test_nothing_is_lost_by_a_kill(tmp_path: Path) -> None:
    emulator = GoogleEmulator(tmp_path)
    with emulator.running(), emulator.client() as client:
        script(client, {"on": "submit", "queued_seconds": 600})
        queued, running, kept = (create_interaction(client, prompt=str(n)).json()["id"] for n in range(3))
        client.post(f"/v1beta/interactions/{queued}/cancel").raise_for_status()
        client.delete(f"/v1beta/interactions/{kept}").raise_for_status()
        emulator.stop(signal.SIGKILL)
    head = (tmp_path / "requests.jsonl").read_text().splitlines()[0]
    (tmp_path / "requests.jsonl").write_text(f"{head}\n")
    with emulator.running(), emulator.client() as client:
        summary = report(client)
        assert summary["accepted"]["video"] == 3
        assert {row["operation"] for row in summary["requests"]} == {queued, running, kept}
        assert {(row["path"], row["surface"]) for row in summary["requests"]} == {
            ("/v1beta/interactions", "interactions")
        }
        assert client.get(f"/v1beta/interactions/{queued}").json()["status"] == "cancelled"
        assert client.get(f"/v1beta/interactions/{kept}").status_code == 404
        assert film_of(client, await_interaction(client, running)).frames == 3 * FRAMES_PER_SECOND
