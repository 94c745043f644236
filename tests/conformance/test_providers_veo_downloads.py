"""VeoGemini's downloads: which host is asked, and what is kept."""

from pathlib import Path

import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.google.veo import VeoGemini
from tests.conformance.http_stub import Answer, Stub, serve
from tests.conformance.veo_steps import MAX_BYTES, facts
from tests.emulators.google_fixture import (
    KEY,
)

GOOGLE_URI = "https://generativelanguage.googleapis.com/v1beta/files/abc123:download?alt=media"

FILE = "/v1beta/files/abc123:download"


async def test_the_host_of_googles_uri_is_ours(stub: Stub, stubbed: VeoGemini, tmp_path: Path) -> None:
    stub.answers[FILE] = Answer(body=b"film")
    await stubbed.download(GOOGLE_URI, tmp_path / "a", MAX_BYTES)
    await stubbed.download(stub.url + FILE, tmp_path / "b", MAX_BYTES)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"film"
    assert {asked.target for asked in stub.asked} == {f"{FILE}?alt=media"}
    assert {asked.headers["x-goog-api-key"] for asked in stub.asked} == {KEY}


async def test_the_key_does_not_follow_to_another_host(stub: Stub, stubbed: VeoGemini, tmp_path: Path) -> None:
    async with serve() as cdn:
        stub.answers[FILE] = Answer(302, headers={"location": f"{FILE}/near"})
        stub.answers[f"{FILE}/near"] = Answer(302, headers={"location": f"{cdn.url}/far"})
        cdn.answers["/far"] = Answer(body=b"film")
        await stubbed.download(GOOGLE_URI, tmp_path / "a", MAX_BYTES)
        assert (tmp_path / "a").read_bytes() == b"film"
        assert [asked.headers.get("x-goog-api-key") for asked in stub.asked] == [KEY, KEY]
        assert [asked.headers.get("x-goog-api-key") for asked in cdn.asked] == [None]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(500), ("TRANSIENT", "PROVIDER_UNAVAILABLE")),
        (Answer(body=b"half", length=100, cut=True), ("TRANSIENT", "PROVIDER_UNREACHABLE")),
        (Answer(cut=True), ("TRANSIENT", "PROVIDER_UNREACHABLE")),
        (Answer(404, b'{"error":{"code":404,"message":"gone"}}'), ("UNKNOWN_OUTCOME", "VIDEO_GONE")),
        (Answer(body=bytes(2000)), ("INVALID", "VIDEO_TOO_LARGE")),
        (Answer(302, headers={"location": FILE}), ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING")),
        (Answer(302, headers={"location": "ftp://host/x"}), ("UNKNOWN_OUTCOME", "VIDEO_URL_MISSING")),
    ],
)
async def test_downloads_that_fail_leave_no_file_and_stay_paid(
    stub: Stub, stubbed: VeoGemini, tmp_path: Path, answer: Answer, expected: tuple[str, str]
) -> None:
    stub.answers[FILE] = answer
    with pytest.raises(ProviderFailure) as caught:
        await stubbed.download(GOOGLE_URI, tmp_path / "film", 1000)
    assert facts(caught.value) == (*expected, CallOutcome.PAID)
    assert not (tmp_path / "film").exists()


async def test_a_file_that_google_dropped_is_gone(veo: VeoGemini, tmp_path: Path) -> None:
    with pytest.raises(ProviderFailure) as caught:
        await veo.download(GOOGLE_URI, tmp_path / "film", MAX_BYTES)
    assert facts(caught.value) == ("UNKNOWN_OUTCOME", "VIDEO_GONE", CallOutcome.PAID)


async def test_a_file_that_cannot_be_written_is_not_the_providers_fault(stubbed: VeoGemini, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await stubbed.download(GOOGLE_URI, tmp_path / "absent" / "film", MAX_BYTES)
