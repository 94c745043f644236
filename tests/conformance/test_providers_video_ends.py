"""How operations end, and their downloads, alike on every video route."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.google.rest import Timeouts
from superstoryboard.providers.routes import OperationDone, OperationRoute, OperationRunning
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import FILE_URI, ROUTES, VideoRoute, encoded
from tests.conformance.video_steps import MAX_BYTES, VIDEO, error_body, facts, failure, names


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (lambda route: route.internal, ("TRANSIENT", "OPERATION_FAILED", CallOutcome.UNPAID)),
        (lambda route: route.invalid, ("INVALID", "PROVIDER_INVALID_ARGUMENT", CallOutcome.UNPAID)),
        (lambda route: route.refused, ("REFUSED", "SAFETY", CallOutcome.UNPAID)),
        (lambda route: route.empty, ("TRANSIENT", "EMPTY_RESULT", CallOutcome.UNPAID)),
        (lambda route: route.without_address, ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING", CallOutcome.PAID)),
    ],
    ids=["internal", "invalid", "refused", "empty", "without_address"],
)
async def test_operations_that_end_without_a_video_are_settled(
    route: VideoRoute,
    provider: OperationRoute,
    stub: Stub,
    ending: Callable[[VideoRoute], dict[str, Any]],
    expected: tuple[str, str, CallOutcome],
) -> None:
    stub.answers[route.poll_path] = Answer(body=encoded(ending(route)))
    assert await failure(provider.poll(route.operation)) == expected


def odd_ends(route: VideoRoute) -> list[dict[str, Any]]:
    """Answers that say that it is done, in shapes that nobody knows."""
    if route.name == "interactions":
        return [route.done | {"status": "expired"}, route.empty | {"outputs": [1], "steps": [1]}]
    ended = {key: value for key, value in route.empty.items() if key != "error"}
    wrapped: dict[str, Any] = (
        {"generateVideoResponse": {"generatedSamples": []}} if route.name == "veo_gemini" else {"videos": []}
    )
    return [
        ended | {"error": "13"},
        ended | {"error": {"code": "13"}},
        ended | {"result": {"video": "x"}},
        ended | {"response": []},
        ended | {"response": {}},
        ended | {"response": wrapped},
        ended | {"response": {"film": {"uri": "https://x/a"}}},
    ]


async def test_an_end_of_another_shape_may_hold_the_video_and_is_kept(
    route: VideoRoute, provider: OperationRoute, stub: Stub
) -> None:
    for odd in odd_ends(route):
        stub.answers[route.poll_path] = Answer(body=encoded(odd))
        with pytest.raises(ProviderFailure) as caught:
            await provider.poll(route.operation)
        assert facts(caught.value) == ("UNKNOWN_OUTCOME", "UNREADABLE_RESULT", CallOutcome.PAID), odd
        assert caught.value.raw_answer.startswith("{")


async def test_a_refusal_keeps_the_providers_codes(route: VideoRoute, provider: OperationRoute, stub: Stub) -> None:
    stub.answers[route.poll_path] = Answer(body=encoded(route.refused))
    with pytest.raises(ProviderFailure) as caught:
        await provider.poll(route.operation)
    assert caught.value.error.provider_codes == ("15236754",)
    assert "celebrity" in caught.value.error.message


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(500, error_body(500, "INTERNAL")), ("TRANSIENT", "PROVIDER_UNAVAILABLE", "UNKNOWN")),
        (Answer(429, error_body(429, "RESOURCE_EXHAUSTED")), ("RATE_LIMITED", "RATE_LIMITED", "UNKNOWN")),
        (Answer(401, error_body(401, "UNAUTHENTICATED")), ("CONFIG", "PROVIDER_ACCESS_DENIED", "UNKNOWN")),
        (Answer(404, b"<html>"), ("TRANSIENT", "PROVIDER_UNAVAILABLE", "UNKNOWN")),
        (Answer(404, error_body(404, "NOT_FOUND")), ("UNKNOWN_OUTCOME", "OPERATION_GONE", "PAID")),
        (Answer(body=b"rubbish"), ("TRANSIENT", "UNREADABLE_RESPONSE", "UNKNOWN")),
        (Answer(body=b"[]"), ("TRANSIENT", "UNREADABLE_RESPONSE", "UNKNOWN")),
        (Answer(body=b"{}"), ("TRANSIENT", "UNREADABLE_RESPONSE", "UNKNOWN")),
        (Answer(body=b"[" * 100_000), ("TRANSIENT", "UNREADABLE_RESPONSE", "UNKNOWN")),
        (Answer(body=b'{"name":"x","done":"yes","status":7}'), ("TRANSIENT", "UNREADABLE_RESPONSE", "UNKNOWN")),
        (Answer(body=b"half", length=100, cut=True), ("TRANSIENT", "PROVIDER_UNREACHABLE", "UNKNOWN")),
        (Answer(cut=True), ("TRANSIENT", "PROVIDER_UNREACHABLE", "UNKNOWN")),
    ],
)
async def test_a_poll_that_fails_says_nothing_about_the_operation_unless_it_is_gone(
    route: VideoRoute, provider: OperationRoute, stub: Stub, answer: Answer, expected: tuple[str, str, str]
) -> None:
    stub.answers[route.poll_path] = answer
    assert await failure(provider.poll(route.operation)) == (*expected[:2], CallOutcome(expected[2]))


@pytest.mark.parametrize("name", ["", ".", "../files/x", "..", "a/../../b"])
async def test_a_name_cannot_lead_elsewhere(provider: OperationRoute, stub: Stub, name: str) -> None:
    assert (await failure(provider.poll(name)))[2] is CallOutcome.UNKNOWN
    assert all("/interactions/" in asked.target and ".." not in asked.target.split("/") for asked in stub.asked)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(500), ("TRANSIENT", "PROVIDER_UNAVAILABLE")),
        (Answer(body=b"half", length=10_000, cut=True), ("TRANSIENT", "PROVIDER_UNREACHABLE")),
        (Answer(cut=True), ("TRANSIENT", "PROVIDER_UNREACHABLE")),
        (Answer(404, error_body(404, "NOT_FOUND", "gone")), ("UNKNOWN_OUTCOME", "VIDEO_GONE")),
        (Answer(302, headers={"location": "ftp://host/x"}), ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING")),
        (Answer(302, headers={"location": "https://10.0.0.1/x"}), ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING")),
        (Answer(302, headers={"location": "https://169.254.169.254/x"}), ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING")),
        (Answer(302, headers={"location": "https://localhost/x"}), ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING")),
        (Answer(302, headers={"location": "https://a@[::1]/x"}), ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING")),
        (Answer(302, headers={"location": "https://[::/x"}), ("TRANSIENT", "PROVIDER_UNREACHABLE")),
        (Answer(302, headers={"location": "http://storage.example/x"}), ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING")),
    ],
)
async def test_a_download_that_fails_leaves_no_file_and_stays_paid(
    route: VideoRoute, stub: Stub, tmp_path: Path, answer: Answer, expected: tuple[str, str]
) -> None:
    provider = route.make(stub.url, Timeouts())
    route.holds(stub, VIDEO)
    done = await provider.poll(route.operation)
    assert isinstance(done, OperationDone)
    stub.answers[route.download_path] = answer
    assert await failure(provider.download(done.location, tmp_path / "film", MAX_BYTES)) == (
        *expected,
        CallOutcome.PAID,
    )
    await provider.aclose()
    assert names(tmp_path) == []


@pytest.mark.parametrize("route", [ROUTES[0], ROUTES[2]], ids=lambda route: route.name, indirect=True)
async def test_a_video_whose_file_is_processed_still_runs(
    route: VideoRoute, provider: OperationRoute, stub: Stub, tmp_path: Path
) -> None:
    route.holds(stub, VIDEO)
    stub.answers["/v1beta/files/abc123"] = Answer(body=b'{"name":"files/abc123","state":"PROCESSING"}')
    assert await provider.poll(route.operation) == OperationRunning()
    stub.answers["/v1beta/files/abc123"] = Answer(body=b'{"name":"files/abc123","state":"ACTIVE"}')
    assert isinstance(await provider.poll(route.operation), OperationDone)
    stub.answers[route.download_path] = Answer(400, error_body(400, "FAILED_PRECONDITION", "not ACTIVE"))
    expected = ("TRANSIENT", "PROVIDER_UNAVAILABLE", CallOutcome.PAID)
    assert await failure(provider.download(FILE_URI, tmp_path / "film", MAX_BYTES)) == expected


@pytest.mark.parametrize("limit", [1000, len(VIDEO) - 1])
async def test_a_video_that_is_too_large_is_not_kept(
    route: VideoRoute, provider: OperationRoute, stub: Stub, tmp_path: Path, limit: int
) -> None:
    route.holds(stub, VIDEO)
    done = await provider.poll(route.operation)
    assert isinstance(done, OperationDone)
    expected = ("INVALID", "VIDEO_TOO_LARGE", CallOutcome.PAID)
    assert await failure(provider.download(done.location, tmp_path / "film", limit)) == expected
    assert names(tmp_path) == []


async def test_a_file_that_cannot_be_written_is_not_the_providers_fault(
    route: VideoRoute, provider: OperationRoute, stub: Stub, tmp_path: Path
) -> None:
    route.holds(stub, VIDEO)
    done = await provider.poll(route.operation)
    assert isinstance(done, OperationDone)
    with pytest.raises(FileNotFoundError):
        await provider.download(done.location, tmp_path / "absent" / "film", MAX_BYTES)
