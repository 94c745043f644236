"""VeoGemini against the emulator: submit, poll, download, and every way they fail."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.domain.media import MediaType
from superstoryboard.media.videos import probe_video
from superstoryboard.providers.google.rest import Timeouts
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.providers.routes import Call, OperationDone, OperationRunning
from superstoryboard.providers.source import SourceImage
from tests.conformance.http_stub import Answer, Stub, serve
from tests.conformance.veo_steps import CALL, MAX_BYTES, OPERATION, facts, poll_failure, release, submit_failure
from tests.emulators.google_fixture import (
    FRAMES_PER_SECOND,
    KEY,
    VIDEO_MODEL,
    GoogleEmulator,
    await_operation,
    encode,
    report,
    script,
)


async def test_from_prompt_to_film(veo: VeoGemini, client: httpx.Client, tmp_path: Path) -> None:
    name = await veo.submit(CALL)
    assert await veo.poll(name) == OperationRunning()
    await asyncio.to_thread(await_operation, client, name)
    done = await veo.poll(name)
    assert isinstance(done, OperationDone)
    assert done.location.startswith("https://generativelanguage.googleapis.com/v1beta/files/")
    await veo.download(done.location, tmp_path / "film", MAX_BYTES)
    film = probe_video(tmp_path / "film")
    assert (film.media_type, film.width, film.height) == (MediaType.MP4, 1280, 720)
    assert (film.video_codec, film.audio_codec, film.frame_rate) == ("h264", "aac", FRAMES_PER_SECOND)
    assert film.duration_ms == pytest.approx(4000, abs=100)
    with pytest.raises(ProviderFailure) as caught:
        await veo.download(done.location, tmp_path / "small", 1000)
    assert facts(caught.value) == ("INVALID", "VIDEO_TOO_LARGE", CallOutcome.PAID)
    assert not (tmp_path / "small").exists()
    assert not any("key" in row["path"] for row in report(client)["requests"])


async def test_a_first_frame_is_understood(veo: VeoGemini, client: httpx.Client) -> None:
    image = SourceImage(MediaType.JPEG, encode(Image.effect_noise((64, 36), 90), "JPEG"))
    name = await veo.submit(
        Call(
            model=VIDEO_MODEL,
            prompt="it moves",
            aspect_ratio="9:16",
            duration_seconds=8,
            resolution="1080p",
            sources=(image,),
        )
    )
    assert name.startswith(f"models/{VIDEO_MODEL}/operations/")
    assert report(client)["accepted"]["video"] == 1


@pytest.mark.parametrize(
    ("entry", "expected", "accepted"),
    [
        ({"kind": "rate_limited_minute"}, ("RATE_LIMITED", "RATE_LIMITED", CallOutcome.UNPAID), 0),
        ({"kind": "quota_day"}, ("QUOTA_EXHAUSTED", "DAILY_QUOTA_EXHAUSTED", CallOutcome.UNPAID), 0),
        ({"kind": "limit_zero"}, ("CONFIG", "PROVIDER_NO_QUOTA", CallOutcome.UNPAID), 0),
        ({"kind": "overloaded"}, ("RATE_LIMITED", "CAPACITY_EXHAUSTED", CallOutcome.UNPAID), 0),
        ({"status": 503}, ("TRANSIENT", "PROVIDER_UNAVAILABLE", CallOutcome.UNPAID), 0),
        ({"status": 400}, ("INVALID", "PROVIDER_INVALID_ARGUMENT", CallOutcome.UNPAID), 0),
        ({"kind": "internal"}, ("UNKNOWN_OUTCOME", "PROVIDER_ERROR", CallOutcome.UNKNOWN), 0),
        ({"status": 503, "body": "<html>"}, ("UNKNOWN_OUTCOME", "PROVIDER_ERROR", CallOutcome.UNKNOWN), 0),
        ({"status": 500, "accept": True}, ("UNKNOWN_OUTCOME", "PROVIDER_ERROR", CallOutcome.UNKNOWN), 1),
        ({"status": 200, "body": "rubbish"}, ("UNKNOWN_OUTCOME", "UNREADABLE_RESPONSE", CallOutcome.UNKNOWN), 0),
        ({"status": 200, "body": {"name": ""}}, ("UNKNOWN_OUTCOME", "UNREADABLE_RESPONSE", CallOutcome.UNKNOWN), 0),
        ({"drop": "before_accept"}, ("UNKNOWN_OUTCOME", "NO_RESPONSE", CallOutcome.UNKNOWN), 0),
        ({"drop": "after_accept"}, ("UNKNOWN_OUTCOME", "NO_RESPONSE", CallOutcome.UNKNOWN), 1),
    ],
)
async def test_submits_that_fail_are_sent_once(
    veo: VeoGemini,
    client: httpx.Client,
    entry: dict[str, Any],
    expected: tuple[str, str, CallOutcome],
    accepted: int,
) -> None:
    script(client, {"on": "submit"} | entry)
    assert facts(await submit_failure(veo)) == expected
    summary = report(client)
    assert len(summary["requests"]) == 1
    assert summary["accepted"]["video"] == accepted


async def test_a_submit_without_an_answer_in_time_is_unknown(emulator: GoogleEmulator, client: httpx.Client) -> None:
    script(client, {"on": "submit", "hold": True})
    adapter = VeoGemini(api_key=KEY, base_url=emulator.url, timeouts=Timeouts(submit=1.0))
    assert facts(await submit_failure(adapter)) == ("UNKNOWN_OUTCOME", "NO_RESPONSE", CallOutcome.UNKNOWN)
    await adapter.aclose()
    release(client)
    assert report(client)["accepted"]["video"] == 1


async def test_a_provider_that_is_not_there_was_not_paid() -> None:
    async with serve() as gone:
        url = gone.url
    adapter = VeoGemini(api_key=KEY, base_url=url)
    assert facts(await submit_failure(adapter)) == ("TRANSIENT", "PROVIDER_UNREACHABLE", CallOutcome.UNPAID)
    assert facts(await poll_failure(adapter)) == ("TRANSIENT", "PROVIDER_UNREACHABLE", CallOutcome.UNKNOWN)
    await adapter.aclose()


async def test_a_wrong_key_is_the_installations_fault(emulator: GoogleEmulator, client: httpx.Client) -> None:
    del client
    adapter = VeoGemini(api_key="wrong-key", base_url=emulator.url)
    assert facts(await submit_failure(adapter)) == ("CONFIG", "PROVIDER_ACCESS_DENIED", CallOutcome.UNPAID)
    await adapter.aclose()


async def test_a_retired_model_names_its_replacement(tmp_path: Path) -> None:
    with GoogleEmulator(tmp_path, "--retired", VIDEO_MODEL).running() as emulator:
        adapter = VeoGemini(api_key=KEY, base_url=emulator.url)
        failed = await submit_failure(adapter)
        await adapter.aclose()
    assert facts(failed) == ("INVALID", "MODEL_RETIRED", CallOutcome.UNPAID)
    assert failed.error.message == (f"model {VIDEO_MODEL} is no longer available; replacement gemini-omni-1.1-flash")


@pytest.mark.parametrize(
    ("end", "error_class", "code"),
    [
        ("operation_error:3", "INVALID", "PROVIDER_INVALID_ARGUMENT"),
        ("operation_error:7", "INVALID", "PROVIDER_PERMISSION_DENIED"),
        ("operation_error:8", "TRANSIENT", "OPERATION_FAILED"),
        ("operation_error:13", "TRANSIENT", "OPERATION_FAILED"),
        ("operation_error:14", "TRANSIENT", "OPERATION_FAILED"),
        ("empty_operation", "TRANSIENT", "EMPTY_RESULT"),
        ("rai_filtered", "REFUSED", "SAFETY"),
    ],
)
async def test_operations_that_end_without_a_video_are_settled(
    veo: VeoGemini, client: httpx.Client, end: str, error_class: str, code: str
) -> None:
    script(client, {"on": "submit", "kind": end})
    name = await veo.submit(CALL)
    await asyncio.to_thread(await_operation, client, name)
    assert facts(await poll_failure(veo, name)) == (error_class, code, CallOutcome.UNPAID)


@pytest.mark.parametrize(
    ("entry", "error_class", "code"),
    [
        ({"kind": "internal"}, "TRANSIENT", "PROVIDER_UNAVAILABLE"),
        ({"kind": "rate_limited_minute"}, "RATE_LIMITED", "RATE_LIMITED"),
        ({"status": 200, "body": "rubbish"}, "TRANSIENT", "UNREADABLE_RESPONSE"),
        ({"status": 200, "body": []}, "TRANSIENT", "UNREADABLE_RESPONSE"),
        ({"drop": "before_accept"}, "TRANSIENT", "PROVIDER_UNREACHABLE"),
    ],
)
async def test_a_poll_that_fails_says_nothing_about_the_operation(
    veo: VeoGemini, client: httpx.Client, entry: dict[str, Any], error_class: str, code: str
) -> None:
    script(client, {"on": "submit", "kind": "empty_operation"}, {"on": "poll"} | entry)
    name = await veo.submit(CALL)
    assert facts(await poll_failure(veo, name)) == (error_class, code, CallOutcome.UNKNOWN)


async def test_an_operation_that_google_forgot_is_paid_and_lost(veo: VeoGemini) -> None:
    assert facts(await poll_failure(veo)) == ("UNKNOWN_OUTCOME", "OPERATION_GONE", CallOutcome.PAID)


@pytest.mark.parametrize("name", ["../files/x", "a//b", "models/m?key=x", "http://host/x", ""])
async def test_a_name_that_is_no_path_is_not_asked_for(stub: Stub, stubbed: VeoGemini, name: str) -> None:
    assert (await poll_failure(stubbed, name)).outcome is CallOutcome.UNKNOWN
    assert stub.asked == []


async def test_a_video_without_an_address_is_paid_and_lost(stub: Stub, stubbed: VeoGemini) -> None:
    body = b'{"name":"x","done":true,"response":{"generateVideoResponse":{"generatedSamples":[{"video":{}}]}}}'
    stub.answers[f"/v1beta/{OPERATION}"] = Answer(body=body)
    assert facts(await poll_failure(stubbed)) == ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING", CallOutcome.PAID)


async def test_a_filter_that_leaves_a_video_is_no_failure(stub: Stub, stubbed: VeoGemini) -> None:
    sample = '{"video":{"uri":"https://x/files/a"}}'
    result = f'{{"raiMediaFilteredCount":1,"generatedSamples":[{sample}]}}'
    body = f'{{"name":"x","done":true,"response":{{"generateVideoResponse":{result}}}}}'
    stub.answers[f"/v1beta/{OPERATION}"] = Answer(body=body.encode())
    assert await stubbed.poll(OPERATION) == OperationDone("https://x/files/a")


def test_the_video_adapter_does_not_load_google_genai() -> None:
    code = (
        "import sys, superstoryboard.providers.google.veo\n"
        "print([n for n in ('google.genai', 'av') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=90)
    assert done.stdout.strip() == "[]"
