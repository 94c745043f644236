"""What only Gemini Omni's interactions do: their states, files that are not ready, videos inside the answer."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.google.omni import Omni
from superstoryboard.providers.routes import Call, OperationDone, OperationRunning
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import FILE_URI, KEY, encoded, output

POLL, FILE = "/v1beta/interactions/v1_abc", "/v1beta/files/abc123"
MADE = {"type": "video", "mime_type": "video/mp4", "uri": FILE_URI}
WORDS = {"type": "text", "text": "What should the fox do?"}


@pytest.fixture
async def omni(stub: Stub) -> AsyncIterator[Omni]:
    adapter = Omni(api_key=KEY, base_url=stub.url)
    yield adapter
    await adapter.aclose()


def says(stub: Stub, status: str, **fields: Any) -> None:
    stub.answers[POLL] = Answer(body=encoded({"id": "v1_abc", "status": status} | fields))


async def failure(omni: Omni) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as caught:
        await omni.poll("v1_abc")
    return caught.value


async def test_a_submit_is_kept_in_the_background_at_the_provider(stub: Stub, omni: Omni) -> None:
    stub.answers["/v1beta/interactions"] = Answer(body=b'{"id":"v1_abc","status":"in_progress"}')
    call = Call(model="m", prompt="x", aspect_ratio="9:16", duration_seconds=4, resolution="1080p")
    assert await omni.submit(call) == "v1_abc"
    body = json.loads(stub.asked[0].body)
    assert (body["background"], body["store"]) == (True, True)
    assert body["generation_config"] == {"video_config": {"task": "text_to_video"}}
    assert body["response_format"]["duration"] == "4s"
    assert stub.asked[0].headers["connection"] == "keep-alive" or "connection" not in stub.asked[0].headers


@pytest.mark.parametrize("status", ["queued", "in_progress"])
async def test_what_is_not_ended_runs(stub: Stub, omni: Omni, status: str) -> None:
    says(stub, status)
    assert await omni.poll("v1_abc") == OperationRunning()


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        ("cancelled", {}, ("TRANSIENT", "OPERATION_CANCELLED")),
        ("incomplete", {}, ("TRANSIENT", "EMPTY_RESULT")),
        ("incomplete", {"steps": output(WORDS)}, ("TRANSIENT", "EMPTY_RESULT")),
        ("completed", {}, ("TRANSIENT", "EMPTY_RESULT")),
        ("completed", {"steps": output(WORDS)}, ("REFUSED", "NO_VIDEO")),
        ("requires_action", {}, ("REFUSED", "NO_VIDEO")),
        ("requires_continuation", {}, ("REFUSED", "NO_VIDEO")),
        ("budget_exceeded", {}, ("QUOTA_EXHAUSTED", "PROVIDER_BUDGET_EXHAUSTED")),
        ("failed", {}, ("TRANSIENT", "EMPTY_RESULT")),
        ("failed", {"errors": [{"message": "?"}]}, ("TRANSIENT", "OPERATION_FAILED")),
        ("failed", {"errors": [{"code": "a/PERMISSION_DENIED"}]}, ("INVALID", "PROVIDER_PERMISSION_DENIED")),
    ],
)
async def test_every_other_end_without_a_video_is_settled_and_unpaid(
    stub: Stub, omni: Omni, status: str, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    says(stub, status, **fields)
    failed = await failure(omni)
    assert (failed.error.error_class.value, failed.error.code) == expected
    assert failed.outcome is CallOutcome.UNPAID


async def test_words_instead_of_a_video_are_kept(stub: Stub, omni: Omni) -> None:
    says(stub, "completed", steps=output(WORDS))
    assert (await failure(omni)).error.message.endswith(": What should the fox do?")


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("thinking_hard", {}),
        ("failed", {"errors": "none", "steps": output(MADE)}),
        ("failed", {"errors": "none"}),
        ("failed", {"steps": output(MADE)}),
        ("completed", {"steps": {"0": output(MADE)}}),
        ("completed", {"steps": [1]}),
        ("completed", {"steps": [{"type": "model_output", "content": {"video": MADE}}]}),
        ("completed", {"steps": output({"type": "film", "uri": FILE_URI})}),
        ("completed", {"steps": [{"type": "model_output", "content": [WORDS, "x"]}]}),
        ("completed", {"steps": output({"type": "image", "data": "eA=="})}),
    ],
)
async def test_an_end_of_another_shape_may_hold_the_video_and_is_kept(
    stub: Stub, omni: Omni, status: str, fields: dict[str, Any]
) -> None:
    says(stub, status, **fields)
    failed = await failure(omni)
    assert (failed.error.error_class.value, failed.error.code) == ("UNKNOWN_OUTCOME", "UNREADABLE_RESULT")
    assert failed.outcome is CallOutcome.PAID
    assert f'"status": "{status}"' in failed.raw_answer


@pytest.mark.parametrize("status", [None, 3, "", []])
async def test_what_is_no_interaction_says_nothing(stub: Stub, omni: Omni, status: Any) -> None:
    says(stub, status)
    assert (await failure(omni)).outcome is CallOutcome.UNKNOWN


@pytest.mark.parametrize("status", ["completed", "incomplete"])
async def test_a_video_whose_file_is_processed_still_runs(stub: Stub, omni: Omni, status: str) -> None:
    says(stub, status, steps=output(MADE))
    stub.answers[FILE] = Answer(body=b'{"name":"files/abc123","state":"PROCESSING"}')
    assert await omni.poll("v1_abc") == OperationRunning()
    stub.answers[FILE] = Answer(body=b'{"name":"files/abc123","state":"ACTIVE"}')
    assert await omni.poll("v1_abc") == OperationDone(FILE_URI)


@pytest.mark.parametrize(
    ("answer", "code", "outcome"),
    [
        (Answer(body=b'{"state":"FAILED"}'), "VIDEO_FILE_FAILED", CallOutcome.PAID),
        (Answer(404, b'{"error":{"code":404,"message":"gone"}}'), "VIDEO_GONE", CallOutcome.PAID),
        (Answer(403, b'{"error":{"code":403,"message":"it may not exist"}}'), "VIDEO_GONE", CallOutcome.PAID),
        (Answer(500), "PROVIDER_UNAVAILABLE", CallOutcome.UNKNOWN),
        (Answer(cut=True), "PROVIDER_UNREACHABLE", CallOutcome.UNKNOWN),
    ],
)
async def test_a_file_that_cannot_be_asked_for_is_asked_for_again_unless_it_is_gone(
    stub: Stub, omni: Omni, answer: Answer, code: str, outcome: CallOutcome
) -> None:
    says(stub, "completed", steps=output(MADE))
    stub.answers[FILE] = answer
    failed = await failure(omni)
    assert (failed.error.code, failed.outcome) == (code, outcome)


async def test_a_video_in_a_bucket_is_a_clear_error(stub: Stub, omni: Omni) -> None:
    says(stub, "completed", steps=output(MADE | {"uri": "gs://bucket/film.mp4"}))
    failed = await failure(omni)
    assert (failed.error.code, failed.outcome) == ("VIDEO_IN_CLOUD_STORAGE", CallOutcome.PAID)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
async def test_a_small_video_may_come_inside_the_answer(stub: Stub, omni: Omni, tmp_path: Path, encode: Any) -> None:
    film = b"\xfb\xff\xfe film"
    says(stub, "completed", steps=output({"type": "video", "data": encode(film).decode()}))
    done = await omni.poll("v1_abc")
    assert isinstance(done, OperationDone)
    await omni.download(done.location, tmp_path / "film", 100)
    assert (tmp_path / "film").read_bytes() == film
    with pytest.raises(ProviderFailure, match="VIDEO_TOO_LARGE"):
        await omni.download(done.location, tmp_path / "small", 3)
    says(stub, "completed", steps=output({"type": "video", "data": "?"}))
    with pytest.raises(ProviderFailure, match="UNREADABLE_RESPONSE"):
        await omni.download(done.location, tmp_path / "rubbish", 100)
