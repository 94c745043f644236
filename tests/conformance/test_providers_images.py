"""GeminiImages against the emulator, through the real google-genai client."""

import asyncio
import base64
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from PIL import Image

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.domain.media import MediaType
from superstoryboard.media.images import probe_image
from superstoryboard.providers.google.gemini_images import ANSWER_BYTES, GeminiImages, read_image
from superstoryboard.providers.routes import Call
from superstoryboard.providers.source import SourceImage
from tests.conformance.http_stub import Answer, serve
from tests.emulators.google_fixture import IMAGE_MODEL, KEY, GoogleEmulator, encode, report, script

CALL = Call(model=IMAGE_MODEL, prompt="a lighthouse at dawn", aspect_ratio="16:9")
PNG = encode(Image.radial_gradient("L").resize((320, 200)))
SOURCE = SourceImage(MediaType.PNG, PNG)


@pytest.fixture
async def images(emulator: GoogleEmulator, client: httpx.Client) -> AsyncIterator[GeminiImages]:
    del client
    adapter = GeminiImages(api_key=KEY, base_url=emulator.url)
    yield adapter
    await adapter.aclose()


async def failure(images: GeminiImages, call: Call = CALL, seconds: float = 60.0) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as caught:
        await images.generate(call, timeout_seconds=seconds)
    assert KEY not in caught.value.error.message
    return caught.value


def release(client: httpx.Client) -> None:
    client.post("/_emulator/release").raise_for_status()


def facts(failed: ProviderFailure) -> tuple[str, str, CallOutcome]:
    return failed.error.error_class.value, failed.error.code, failed.outcome


async def test_text_to_image(images: GeminiImages, client: httpx.Client) -> None:
    picture = probe_image(await images.generate(CALL, timeout_seconds=60))
    assert picture.media_type is MediaType.PNG
    assert picture.width / picture.height == pytest.approx(16 / 9, abs=0.05)
    rows = report(client)["requests"]
    assert [row["path"] for row in rows] == [f"/v1beta/models/{IMAGE_MODEL}:generateContent"]


async def test_an_edit_keeps_the_size_of_its_source(images: GeminiImages) -> None:
    call = Call(model=IMAGE_MODEL, prompt="make it night", sources=(SOURCE,))
    picture = probe_image(await images.generate(call, timeout_seconds=60))
    assert (picture.width, picture.height) == (320, 200)


async def test_a_reference_with_an_aspect_ratio_is_a_new_picture(images: GeminiImages) -> None:
    call = Call(model=IMAGE_MODEL, prompt="in this style", aspect_ratio="1:1", sources=(SOURCE,))
    picture = probe_image(await images.generate(call, timeout_seconds=60))
    assert picture.width == picture.height > 320


async def test_the_environment_cannot_send_the_call_elsewhere(
    emulator: GoogleEmulator, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_API_KEY", "another-key")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    adapter = GeminiImages(api_key=f" {KEY}\n", base_url=emulator.url, api_version="v1")
    assert await adapter.generate(CALL, timeout_seconds=60)
    await adapter.aclose()
    assert report(client)["requests"][0]["path"].startswith("/v1/models/")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"kind": "rate_limited_minute"}, ("RATE_LIMITED", "RATE_LIMITED", CallOutcome.UNPAID)),
        ({"kind": "quota_day"}, ("QUOTA_EXHAUSTED", "DAILY_QUOTA_EXHAUSTED", CallOutcome.UNPAID)),
        ({"kind": "limit_zero"}, ("CONFIG", "PROVIDER_NO_QUOTA", CallOutcome.UNPAID)),
        ({"kind": "overloaded"}, ("RATE_LIMITED", "CAPACITY_EXHAUSTED", CallOutcome.UNPAID)),
        ({"kind": "internal"}, ("UNKNOWN_OUTCOME", "PROVIDER_ERROR", CallOutcome.UNKNOWN)),
        ({"status": 502, "body": "<html>bad</html>"}, ("UNKNOWN_OUTCOME", "PROVIDER_ERROR", CallOutcome.UNKNOWN)),
        ({"status": 503, "body": "<html>bad</html>"}, ("UNKNOWN_OUTCOME", "PROVIDER_ERROR", CallOutcome.UNKNOWN)),
        ({"status": 403}, ("CONFIG", "PROVIDER_ACCESS_DENIED", CallOutcome.UNPAID)),
        ({"kind": "blocked_prompt"}, ("REFUSED", "PROMPT_BLOCKED", CallOutcome.UNPAID)),
        ({"kind": "image_safety"}, ("REFUSED", "SAFETY", CallOutcome.UNPAID)),
        ({"kind": "no_image_text"}, ("REFUSED", "NO_IMAGE", CallOutcome.UNPAID)),
        ({"kind": "no_image"}, ("TRANSIENT", "EMPTY_RESULT", CallOutcome.UNPAID)),
        ({"status": 200, "body": "not json"}, ("UNKNOWN_OUTCOME", "UNREADABLE_RESPONSE", CallOutcome.UNKNOWN)),
        ({"drop": "before_accept"}, ("UNKNOWN_OUTCOME", "NO_RESPONSE", CallOutcome.UNKNOWN)),
        ({"drop": "after_accept"}, ("UNKNOWN_OUTCOME", "NO_RESPONSE", CallOutcome.UNKNOWN)),
    ],
)
async def test_failures_are_told_apart_and_never_repeated(
    images: GeminiImages, client: httpx.Client, entry: dict[str, Any], expected: tuple[str, str, CallOutcome]
) -> None:
    script(client, {"on": "image"} | entry)
    assert facts(await failure(images)) == expected
    assert len(report(client)["requests"]) == 1


async def test_the_delay_that_google_asks_for_is_kept(images: GeminiImages, client: httpx.Client) -> None:
    script(client, {"on": "image", "kind": "rate_limited_minute", "retry_delay_seconds": 12.5})
    assert (await failure(images)).retry_after_seconds == 12.5
    script(client, {"on": "image", "status": 429, "headers": {"retry-after": "7"}})
    assert (await failure(images)).retry_after_seconds == 7


async def test_a_refusal_keeps_its_reason_and_codes(images: GeminiImages, client: httpx.Client) -> None:
    script(client, {"on": "image", "kind": "image_safety"})
    error = (await failure(images)).error
    assert error.provider_codes == ("IMAGE_SAFETY", "63429089")
    assert "category: prohibited" in error.message
    assert "Responsible AI" in error.message


async def test_a_retired_model_names_its_replacement(images: GeminiImages) -> None:
    failed = await failure(images, Call(model="gemini-2.5-flash-image-preview", prompt="x"))
    assert facts(failed) == ("INVALID", "MODEL_RETIRED", CallOutcome.UNPAID)
    assert failed.error.message.endswith("replacement gemini-nano-banana-2.1")
    unlisted = await failure(images, Call(model="gemini-unheard-of", prompt="x"))
    assert unlisted.error.code == "MODEL_RETIRED"


async def test_a_wrong_key_is_the_installations_fault(emulator: GoogleEmulator, client: httpx.Client) -> None:
    del client
    adapter = GeminiImages(api_key="wrong-key", base_url=emulator.url)
    failed = await failure(adapter)
    await adapter.aclose()
    assert facts(failed) == ("CONFIG", "PROVIDER_ACCESS_DENIED", CallOutcome.UNPAID)


async def test_a_late_answer_has_an_unknown_outcome(images: GeminiImages, client: httpx.Client) -> None:
    script(client, {"on": "image", "hold": True})
    assert facts(await failure(images, seconds=1.0)) == ("UNKNOWN_OUTCOME", "NO_RESPONSE", CallOutcome.UNKNOWN)
    release(client)
    assert report(client)["accepted"]["image"] == 1


async def test_a_provider_that_is_not_there_was_not_paid() -> None:
    async with serve() as gone:
        url = gone.url
    adapter = GeminiImages(api_key=KEY, base_url=url)
    failed = await failure(adapter)
    await adapter.aclose()
    assert facts(failed) == ("TRANSIENT", "PROVIDER_UNREACHABLE", CallOutcome.UNPAID)


async def test_the_key_does_not_follow_a_redirect() -> None:
    async with serve() as elsewhere, serve() as stub:
        path = f"/v1beta/models/{IMAGE_MODEL}:generateContent"
        stub.answers[path] = Answer(307, headers={"location": elsewhere.url + path})
        adapter = GeminiImages(api_key=KEY, base_url=stub.url)
        failed = await failure(adapter)
        await adapter.aclose()
    assert facts(failed) == ("UNKNOWN_OUTCOME", "PROVIDER_ERROR", CallOutcome.UNKNOWN)
    assert elsewhere.asked == []


def answer(*parts: dict[str, Any], **candidate: Any) -> str:
    return json.dumps({"candidates": [{"content": {"role": "model", "parts": list(parts)}} | candidate]})


def blob(data: str, mime_type: str = "image/png") -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime_type, "data": data}}


@pytest.mark.parametrize("encode_bytes", [base64.b64encode, base64.urlsafe_b64encode])
def test_both_base64_alphabets_are_read(encode_bytes: Any) -> None:
    data = b"\xfb\xff\xfe\x00" * 9 + b"x"
    text = encode_bytes(data).decode()
    assert read_image(answer({"text": "here"}, blob(text))) == data
    assert read_image(answer(blob(text.rstrip("=")))) == data


def test_drafts_of_a_thinking_model_are_not_the_result() -> None:
    draft, final = (base64.b64encode(word).decode() for word in (b"draft", b"final"))
    assert read_image(answer(blob(draft) | {"thought": True}, blob(final))) == b"final"
    with pytest.raises(ProviderFailure, match="EMPTY_RESULT"):
        read_image(answer(blob(draft) | {"thought": True}, finishReason="NO_IMAGE"))


@pytest.mark.parametrize("data", ["", "a", "!!!!"])
def test_a_picture_that_is_no_base64_was_paid_for(data: str) -> None:
    with pytest.raises(ProviderFailure) as caught:
        read_image(answer(blob(data)))
    assert facts(caught.value) == ("TRANSIENT", "DAMAGED_RESULT", CallOutcome.PAID)


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"candidates": null}',
        '{"candidates": [{"content": null}]}',
        '{"candidates": [1]}',
        '{"candidates": {"0": {"finishReason": "NO_IMAGE"}}}',
        '{"candidates": [{"content": {"parts": [{"inlineData": 3}, 4]}}]}',
        '{"candidates": [{"content": [], "finishReason": "NO_IMAGE"}, {"content": "x"}]}',
        '{"promptFeedback": "x"}',
        '{"predictions": [{"bytesBase64Encoded": "eA=="}]}',
        answer(blob("eA==", "audio/wav"), finishReason="STOP"),
        answer(blob("eA==", "video/mp4"), {"text": "here"}, finishReason="STOP"),
        answer({"fileData": {"mimeType": "image/png", "fileUri": "https://x/files/a"}}, finishReason="STOP"),
        answer({"newPicture": {"data": "eA=="}}, finishReason="NO_IMAGE"),
        answer({"text": "here"}, finishReason="BRAND_NEW"),
        answer(finishReason="STOP"),
        answer({"text": "here"}),
    ],
)
def test_answers_of_another_shape_are_of_unknown_outcome_and_kept(body: str) -> None:
    with pytest.raises(ProviderFailure) as caught:
        read_image(body)
    assert facts(caught.value) == ("UNKNOWN_OUTCOME", "UNREADABLE_RESPONSE", CallOutcome.UNKNOWN)
    assert caught.value.raw_answer.startswith("{")


@pytest.mark.parametrize("body", ["", "[]", "3", "<html>", "[" * 100_000, '{"a":' * 100_000, f'{{"a": {"9" * 5000}}}'])
def test_answers_that_are_no_object_are_unknown(body: str) -> None:
    with pytest.raises(ProviderFailure) as caught:
        read_image(body)
    assert caught.value.outcome is CallOutcome.UNKNOWN
    assert caught.value.raw_answer[:1] == body[:1]


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        ({"finishReason": "IMAGE_SAFETY", "content": {"parts": [{"odd": 1}]}}, ("REFUSED", "SAFETY")),
        ({"finishReason": "NO_IMAGE", "finishMessage": "\x00\ud800"}, ("TRANSIENT", "EMPTY_RESULT")),
        ({"finishReason": "STOP", "content": {"parts": [{"text": "\x00no\ud800"}]}}, ("REFUSED", "NO_IMAGE")),
    ],
)
def test_what_is_shown_of_an_answer_can_be_written_to_the_database(
    candidate: dict[str, Any], expected: tuple[str, str]
) -> None:
    with pytest.raises(ProviderFailure) as caught:
        read_image(json.dumps({"candidates": [candidate]}))
    assert facts(caught.value) == (*expected, CallOutcome.UNPAID)
    assert caught.value.error.message.isprintable()
    assert all(code.isascii() for code in caught.value.error.provider_codes)


PATH = f"/v1beta/models/{IMAGE_MODEL}:generateContent"


async def test_an_answer_that_never_ends_is_given_up_before_it_fills_the_memory() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" " * 1_000_000)
                await writer.drain()
                sent += 1_000_000
        writer.close()

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    async with server:
        adapter = GeminiImages(api_key=KEY, base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        failed = await failure(adapter, seconds=60)
        await adapter.aclose()
    assert facts(failed) == ("UNKNOWN_OUTCOME", "UNREADABLE_RESPONSE", CallOutcome.UNKNOWN)
    assert sent < ANSWER_BYTES + 20_000_000


async def test_an_answer_that_would_unfold_in_memory_is_not_read() -> None:
    async with serve() as stub:
        body = gzip.compress(bytes(50_000_000))
        stub.answers[PATH] = Answer(body=body, headers={"content-encoding": "gzip", "content-type": "application/json"})
        adapter = GeminiImages(api_key=KEY, base_url=stub.url)
        assert facts(await failure(adapter)) == ("UNKNOWN_OUTCOME", "UNREADABLE_RESPONSE", CallOutcome.UNKNOWN)
        await adapter.aclose()
        assert stub.asked[0].headers["accept-encoding"] == "identity"
