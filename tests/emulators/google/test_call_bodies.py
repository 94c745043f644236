"""Bodies that the emulated services refuse, read by themselves: each refusal says what is wrong, none is paid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devstack.emulators.google.errors import ApiError
from devstack.emulators.google.image_call import parse_image_call
from devstack.emulators.google.interaction_call import parse_interaction_call
from devstack.emulators.google.models import CURRENT
from devstack.emulators.google.video_call import parse_video_call

IMAGE, VIDEO, OMNI = (
    CURRENT[name] for name in ("gemini-3-pro-image", "veo-3.1-generate-preview", "gemini-omni-1.1-flash")
)
PICTURE = {"type": "image", "data": "iVBORw0KGgo=", "mime_type": "image/png"}


def text(**config: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": "a fox"}]}], "generationConfig": config}


def film(**more: Any) -> dict[str, Any]:
    return {"instances": [{"prompt": "a fox"} | more]}


def refusal(parse: Any, body: Any, model: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        parse(body, model)
    error: ApiError = raised.value
    return error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Invalid JSON payload received"),
        (b"[]", "The root must be an object"),
        ({}, "contents is not specified"),
        (text() | {"generationConfig": [1]}, "type object expected"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "use a valid role"),
        (text(responseModalities="IMAGE"), "Invalid value at 'generation_config.response_modalities'"),
        (text(responseModalities=["AUDIO"]), "not supported by the model"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": 7}}]}]}, "Base64"),
    ],
)
def test_image_calls(body: Any, words: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert words in str(refusal(parse_image_call, raw, IMAGE))


def test_an_image_call_may_ask_for_text_alone() -> None:
    call = parse_image_call(json.dumps(text(responseModalities=["TEXT"])).encode(), IMAGE)
    assert (call.with_text, call.with_image) == (True, False)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (film() | {"parameters": 7}, 400, "`parameters` must be an object"),
        ({"instances": []}, 400, "exactly one object"),
        (film(image={"gcsUri": "gs://bucket/a.png"}), 501, "no Cloud Storage"),
        (film(image={"bytesBase64Encoded": "", "mimeType": "image/png"}), 400, "should contain both"),
        (film(image={"bytesBase64Encoded": "aaaa", "mimeType": "image/gif"}), 400, "Unsupported MIME type"),
        (film(image={"bytesBase64Encoded": 7, "mimeType": "image/png"}), 400, "is not valid base64"),
        (film() | {"parameters": {"personGeneration": "allow_cats"}}, 400, "is not a known value"),
        (film(lastFrame={}), 501, "does not support `lastFrame`"),
        (film(referenceImages=[]), 501, "does not support `referenceImages`"),
        (film(video={}), 501, "does not support `video`"),
    ],
)
def test_video_calls(body: Any, code: int, words: str) -> None:
    error = refusal(parse_video_call, json.dumps(body).encode(), VIDEO)
    assert (error.code, words in str(error)) == (code, True), str(error)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"previous_interaction_id": "a"}, 501, "neither continues interactions nor streams"),
        ({"input": [{"type": "video", "data": ""}]}, 501, "does not support video as input"),
        ({"input": [{"type": "smell"}]}, 400, "'smell' is not supported"),
        ({"input": [PICTURE, PICTURE]}, 501, "accepts one image"),
        ({"input": ["words"]}, 400, "must be a string, a content, or a list"),
        ({"input": [PICTURE | {"uri": "files/1"}]}, 501, "does not accept uploaded files"),
        ({"generation_config": {"video_config": 7}}, 400, "must be an object"),
    ],
)
def test_interaction_calls(body: dict[str, Any], code: int, words: str) -> None:
    error = refusal(parse_interaction_call, {"input": "a fox"} | body, OMNI)
    assert (error.code, words in str(error)) == (code, True), str(error)
