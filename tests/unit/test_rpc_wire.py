"""Requests as bytes, statuses that fit into trailers, and page tokens."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from google.rpc import error_details_pb2

from services.ingest.pages import page_token, read_page_token
from superstoryboard.providers.source_url import url_problem
from superstoryboard.rpc.errors import ApiError, invalid
from superstoryboard.rpc.limits import Shares
from superstoryboard.rpc.validation import violations
from superstoryboard.rpc.wire import MEBIBYTE, parse
from superstoryboard.v1 import generation_service_pb2 as api

TRAILER_BYTES = 8 * 1024


def trailer_bytes(error: ApiError) -> int:
    """Bytes of the status as gRPC sends it, without the names of the trailers."""
    status = error.to_status()
    return len(quote(status.message, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~")) + len(
        base64.b64encode(status.SerializeToString())
    )


@pytest.mark.parametrize("text", ["x", "\N{SNOWMAN}", "\U0001f600", "\0", "%"])
@pytest.mark.parametrize("length", [1, 60, 100_000])
@pytest.mark.parametrize("count", [1, 100, 10_000])
def test_a_status_fits_into_trailers_whatever_is_wrong(text: str, length: int, count: int) -> None:
    error = invalid([(text * length, text * length)] * count)
    assert trailer_bytes(error) < TRAILER_BYTES
    bad = error_details_pb2.BadRequest()
    assert error.to_status().details[-1].Unpack(bad)
    assert 1 <= len(bad.field_violations) <= min(count, 100)


def test_a_valid_large_request_is_parsed_as_it_is() -> None:
    request = api.BatchCreateJobsRequest(items=[api.BatchItem() for _ in range(1000)])
    for item in request.items:
        item.image.image.prompt = "x" * 100
    raw = request.SerializeToString()
    assert parse(raw, api.BatchCreateJobsRequest.FromString, MEBIBYTE) == request


@pytest.mark.parametrize("filler", [b"\x08\x01", b"\x09" + bytes(8), b"\x0d" + bytes(4), b"\x12\x00"])
def test_elements_of_every_form_are_counted(filler: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse(filler * 40_000, api.BatchCreateJobsRequest.FromString, MEBIBYTE)
    assert caught.value.reason == "INVALID_ARGUMENT"


@pytest.mark.parametrize("start", [b"\x13\x14", b"\x08" + b"\xff" * 11])
def test_a_crowd_behind_a_broken_start_is_not_parsed(start: bytes) -> None:
    with pytest.raises(ApiError, match="Wire format was corrupt"):
        parse(start + b"\x0a\x00" * 40_000, api.BatchCreateJobsRequest.FromString, MEBIBYTE)


@pytest.mark.parametrize("seconds", [-1, -62_135_596_801, 253_402_300_800, 2**63 - 1, -(2**63)])
def test_times_that_no_part_of_the_system_can_keep_are_named(seconds: int) -> None:
    request = api.ListJobsRequest()
    request.created_from.seconds = seconds
    request.created_before.nanos = -1
    assert [field for field, _ in violations(request)] == ["created_from", "created_before"]


def test_a_page_token_comes_back_as_it_was() -> None:
    place = datetime(2026, 11, 21, 4, 16, 0, 123456, tzinfo=UTC), uuid4()
    assert read_page_token(page_token(place)) == place


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "\0",
        "\N{SNOWMAN}",
        base64.urlsafe_b64encode(json.dumps(["2026-01-01T00:00:00+00:00", str(UUID(int=0))]).encode()).decode(),
        base64.urlsafe_b64encode(b"[" * 380).decode(),
        base64.urlsafe_b64encode(b"\xff" * 24).decode(),
        base64.urlsafe_b64encode(b"\x7f" + b"\xff" * 23).decode(),
        base64.urlsafe_b64encode(bytes(23)).decode(),
    ],
)
def test_a_forged_page_token_is_refused(token: str) -> None:
    with pytest.raises(ApiError, match="page_token"):
        read_page_token(token)


def test_a_share_is_given_back() -> None:
    shares = Shares(2, "calls")
    with (
        shares.hold("alice", 2),
        shares.hold("bob", 2),
        pytest.raises(ApiError, match="at most 2"),
        shares.hold("alice"),
    ):
        pass
    with shares.hold("alice", 2):
        pass


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/a.png",
        "https://[::1]/a.png",
        "https://\N{LATIN SMALL LETTER E WITH ACUTE}tude.example/a",
        "https://xn--tude-9oa.example/a",
        "https://storage_1.example.com:443/a?b=c#d",
    ],
)
def test_a_url_that_a_client_can_ask_for(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///a",
        "https://[::1",
        "https://[zz]/",
        "https://a:99999/",
        "https://a:0/",
        "https://a:b/",
        "https://a..b/",
        "https://%41/",
        "https://xn--a/",
        "https://xn--" + "9" * 60 + "/",
        "https://" + "a." * 130 + "/",
        "https://" + "a" * 64 + ".example/",
        "https://\N{ROMAN NUMERAL EIGHT}.example/",
        "https://a\x01.example/",
        "https://a.example/\0",
    ],
)
def test_a_url_that_no_client_can_ask_for(url: str) -> None:
    assert url_problem(url) is not None
