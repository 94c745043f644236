"""Gemini Omni by the Interactions API: ends without a film, errors and refusals."""

from typing import Any

import httpx
import pytest

from tests.emulators.google_fixture import (
    IMAGE_MODEL,
    OMNI_MODEL,
    VIDEO_MODEL,
    await_interaction,
    create_interaction,
    make_picture,
    report,
    script,
)
from tests.emulators.interaction_steps import CELEBRITY, video_format


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("rai_filtered", "failed", ("safety", CELEBRITY)),
        ("rai_filtered:58061214", "failed", ("safety", "Support codes: 58061214")),
        ("operation_error:13", "failed", ("api_error", "internal server issue")),
        ("operation_error:14", "failed", ("service_unavailable", "unavailable")),
        ("status:incomplete", "incomplete", None),
        ("status:budget_exceeded", "budget_exceeded", None),
    ],
)
def test_ends_without_a_film(client: httpx.Client, kind: str, status: str, error: tuple[str, str] | None) -> None:
    script(client, {"on": "submit", "kind": kind})
    interaction = await_interaction(client, create_interaction(client).json()["id"])
    assert (interaction["status"], interaction["steps"]) == (status, [])
    if error is None:
        assert "errors" not in interaction
    else:
        (problem,) = interaction["errors"]
        assert problem["code"] == error[0]
        assert error[1] in problem["message"]
    assert report(client)["accepted"]["video"] == 1


def test_completed_without_a_film(client: httpx.Client) -> None:
    script(client, {"on": "submit", "kind": "no_video_text"}, {"on": "submit", "kind": "empty_operation"})
    refusal = await_interaction(client, create_interaction(client).json()["id"])
    assert refusal["status"] == "completed"
    assert [content["type"] for content in refusal["steps"][0]["content"]] == ["text"]
    empty = await_interaction(client, create_interaction(client).json()["id"])
    assert (empty["status"], empty["steps"]) == ("completed", [])
    assert empty["usage"]["total_output_tokens"] == 0


@pytest.mark.parametrize(
    ("kind", "http_status", "code"),
    [
        ("blocked_prompt", 400, "prohibited_content"),
        ("rate_limited_minute", 429, "rate_limit_exceeded"),
        ("quota_day", 429, "quota_exceeded"),
        ("limit_zero", 429, "quota_exceeded"),
        ("overloaded", 503, "service_unavailable"),
    ],
)
def test_errors_have_the_shape_of_this_api(client: httpx.Client, kind: str, http_status: int, code: str) -> None:
    script(client, {"on": "submit", "kind": kind})
    answer = create_interaction(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (http_status, code)
    assert answer.json()["error"].keys() == {"code", "message"}
    assert report(client)["accepted"]["video"] == 0


@pytest.mark.parametrize("key", ["", "wrong"])
def test_keys(client: httpx.Client, key: str) -> None:
    client.headers["x-goog-api-key"] = key
    for answer in (create_interaction(client), client.get("/v1beta/interactions/v1_x")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "authentication")


@pytest.mark.parametrize("model", [VIDEO_MODEL, IMAGE_MODEL, "gemini-omni-flash-preview", "gemini-omni-9"])
def test_models_of_other_apis_and_times(client: httpx.Client, model: str) -> None:
    answer = create_interaction(client, model=model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_omni_is_only_here(client: httpx.Client) -> None:
    assert make_picture(client, model=OMNI_MODEL).status_code == 404
    old = client.post(f"/v1beta/models/{OMNI_MODEL}:predictLongRunning", json={"instances": [{"prompt": "x"}]})
    assert (old.status_code, old.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert client.get(f"/v1beta/models/{OMNI_MODEL}").json()["name"] == f"models/{OMNI_MODEL}"


def test_unknown_interactions(client: httpx.Client) -> None:
    malformed = client.get("/v1beta/interactions/gone").json()["error"]
    assert malformed == {"code": "invalid_request", "message": "Invalid interaction name: interactions/gone"}
    assert client.delete("/v1beta/interactions/v1_gone").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"store": False}, "invalid_request", "'store'"),
        ({"prompt": ""}, "invalid_request", "'input'"),
        ({"responseFormat": {}}, "parameter_unknown", "responseFormat"),
        ({"safety_settings": []}, "parameter_unknown", "safety_settings"),
        ({"background": "yes"}, "invalid_request", "'background'"),
        ({"response_format": {"type": "text"}}, "invalid_request", "'video'"),
        ({"response_format": video_format(durationSeconds=8)}, "parameter_unknown", "durationSeconds"),
        ({"response_format": video_format(duration=8)}, "invalid_request", "duration"),
        ({"response_format": video_format(duration="8")}, "invalid_request", "duration"),
        ({"response_format": video_format(duration="11s")}, "invalid_request", "10s"),
        ({"response_format": video_format(resolution="480p")}, "invalid_request", "resolution"),
        ({"response_format": video_format(aspect_ratio="1:1")}, "invalid_request", "aspect_ratio"),
        ({"response_format": video_format(delivery="post")}, "invalid_request", "delivery"),
        ({"response_format": video_format(gcs_uri="gs://b")}, "invalid_request", "Vertex"),
        ({"generation_config": {"video_config": {"task": "dance"}}}, "invalid_request", "dance"),
        ({"generation_config": {"video_config": {"task": "image_to_video"}}}, "invalid_request", "image_to_video"),
        ({"generation_config": {"video_config": {"task": "upscale"}}}, "unimplemented", "upscale"),
        ({"prompt": [{"type": "image", "mime_type": "image/png", "data": "eA=="}]}, "invalid_request", "input image"),
        ({"prompt": [{"type": "image", "mimeType": "image/png", "data": "eA=="}]}, "invalid_request", "mime_type"),
    ],
)
def test_what_is_refused(client: httpx.Client, fields: dict[str, Any], code: str, message: str) -> None:
    error = create_interaction(client, **fields).json()["error"]
    assert error["code"] == code
    assert message in error["message"]
    assert report(client)["accepted"]["video"] == 0
