"""What services say outside of their usual shapes, and addresses that lead nowhere: each has its own end."""

from __future__ import annotations

import io
import json
import zoneinfo
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.google.omni import Omni
from superstoryboard.providers.google.status_table import seconds_until_quota_reset
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.providers.google.veo_vertex import VeoVertex
from superstoryboard.providers.routes import Call, OperationDone
from tests.conformance.http_stub import Answer, Stub, serve
from tests.conformance.video_routes import KEY, VERTEX_NAME, VERTEX_POLL, encoded, inline, output

MODEL = "veo-3.1-fast-generate-preview"
LIST = f"/v1beta/models/{MODEL}/operations?pageSize="
HOOK = "https://hooks.example/google"
MARK = {"job": "8"}
CALL = Call(model=MODEL, prompt="x", aspect_ratio="9:16", duration_seconds=4, resolution="1080p", mark=MARK)


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serve() as running:
        yield running


@pytest.fixture
async def veo(stub: Stub) -> AsyncIterator[VeoGemini]:
    adapter = VeoGemini(api_key=KEY, base_url=stub.url, webhook_url=HOOK)
    yield adapter
    await adapter.aclose()


def page(*operations: Any, following: str = "") -> Answer:
    return Answer(body=encoded({"operations": list(operations), "nextPageToken": following}))


def listed(number: int, **metadata: Any) -> dict[str, Any]:
    return {"name": f"models/{MODEL}/operations/{number}", "metadata": metadata}


async def test_pages_of_a_list_are_read_to_their_end_and_odd_entries_left_out(stub: Stub, veo: VeoGemini) -> None:
    path = LIST.partition("?")[0]
    stub.queued[path] = [
        page(listed(1, createTime="2026-01-02T03:04:05Z"), "odd", {"name": "odd"}, {}, following="a/b"),
        page(listed(2, createTime="yesterday"), listed(3, createTime="2026-01-02T03:04:05")),
    ]
    operations = await veo.recent(MODEL)
    assert [each.name.rpartition("/")[2] for each in operations] == ["1", "2", "3"]
    assert [each.created_at for each in operations] == [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None, None]
    assert [asked.target for asked in stub.asked] == [f"{LIST}100", f"{LIST}100&pageToken=a%2Fb"]


async def test_a_list_without_end_is_left_after_ten_pages(stub: Stub, veo: VeoGemini) -> None:
    stub.answers[LIST.partition("?")[0]] = page(listed(1), following="again")
    assert len(await veo.recent(MODEL)) == len(stub.asked) == 10


async def test_a_list_that_fails_is_asked_for_again(stub: Stub, veo: VeoGemini) -> None:
    stub.answers[LIST.partition("?")[0]] = Answer(503)
    with pytest.raises(ProviderFailure) as caught:
        await veo.recent(MODEL)
    assert (caught.value.error.error_class.value, caught.value.outcome) == ("TRANSIENT", CallOutcome.UNKNOWN)
    assert veo.lists


async def test_routes_without_a_list_ask_nobody(stub: Stub) -> None:
    for route in (Omni(api_key=KEY, base_url=stub.url), VeoVertex(api_key=KEY, base_url=stub.url)):
        assert await route.recent(MODEL) == []
        await route.aclose()
    assert stub.asked == []


async def test_a_submit_names_the_webhook_and_the_row_of_the_ledger(stub: Stub, veo: VeoGemini) -> None:
    stub.answers[f"/v1beta/models/{MODEL}:predictLongRunning"] = Answer(body=encoded(listed(1)))
    stub.answers["/v1beta/interactions"] = Answer(body=b'{"id":"v1_abc","status":"in_progress"}')
    omni = Omni(api_key=KEY, base_url=stub.url, webhook_url=HOOK)
    assert (await veo.submit(CALL), await omni.submit(CALL)) == (listed(1)["name"], "v1_abc")
    await omni.aclose()
    veo_body, omni_body = [json.loads(asked.body) for asked in stub.asked]
    assert veo_body["webhookConfig"] == {"uris": [HOOK], "userMetadata": MARK}
    assert omni_body["webhook_config"] == {"uris": [HOOK], "user_metadata": MARK}


async def test_an_interaction_that_is_done_and_holds_no_bytes_is_read_again(stub: Stub, tmp_path: Path) -> None:
    stub.answers["/v1beta/interactions/v1_abc"] = Answer(
        body=encoded({"id": "v1_abc", "status": "completed", "steps": output({"type": "video", "data": ""})})
    )
    omni = Omni(api_key=KEY, base_url=stub.url)
    with pytest.raises(ProviderFailure) as caught:
        await omni.download("v1_abc", tmp_path / "film", 100)
    await omni.aclose()
    assert (caught.value.error.code, caught.value.outcome) == ("UNREADABLE_RESPONSE", CallOutcome.PAID)


async def test_an_interaction_that_leads_elsewhere_is_not_followed(stub: Stub, tmp_path: Path) -> None:
    stub.answers["/v1beta/interactions/v1_abc"] = Answer(302, headers={"location": f"{stub.url}/far"})
    omni = Omni(api_key=KEY, base_url=stub.url)
    with pytest.raises(ProviderFailure) as caught:
        await omni.download("v1_abc", tmp_path / "film", 100)
    await omni.aclose()
    assert (caught.value.error.code, caught.value.outcome) == ("VIDEO_URL_MISSING", CallOutcome.PAID)
    assert [asked.target for asked in stub.asked] == ["/v1beta/interactions/v1_abc?stream=false"]


async def test_a_video_inside_a_short_answer_is_done(stub: Stub) -> None:
    stub.answers[VERTEX_POLL] = Answer(body=inline(b"film"))
    vertex = VeoVertex(api_key=KEY, base_url=stub.url)
    assert await vertex.poll(VERTEX_NAME) == OperationDone(VERTEX_NAME)
    with pytest.raises(ProviderFailure, match="UNREADABLE_RESPONSE"):
        await vertex.poll("models/x")
    await vertex.aclose()


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("https://no-such-host.invalid/film", "PROVIDER_UNREACHABLE"),
        (f"https://{'a' * 64}.example/film", "VIDEO_URL_MISSING"),
        ("https://[::1/film", "VIDEO_URL_MISSING"),
        ("https://localhost/film", "VIDEO_URL_MISSING"),
    ],
)
async def test_an_address_that_cannot_be_reached_stays_paid(
    veo: VeoGemini, tmp_path: Path, uri: str, code: str
) -> None:
    with pytest.raises(ProviderFailure) as caught:
        await veo.download(uri, tmp_path / "film", 100)
    assert (caught.value.error.code, caught.value.outcome) == (code, CallOutcome.PAID)


async def test_a_redirect_to_no_address_stays_paid(stub: Stub, veo: VeoGemini, tmp_path: Path) -> None:
    stub.answers["/film"] = Answer(302, headers={"location": "https://[::1"})
    with pytest.raises(ProviderFailure) as caught:
        await veo.download(f"{stub.url}/film", tmp_path / "film", 100)
    assert (caught.value.error.code, caught.value.outcome) == ("PROVIDER_UNREACHABLE", CallOutcome.PAID)


async def test_another_host_is_reached_at_its_checked_address_and_under_its_name(stub: Stub, veo: VeoGemini) -> None:
    assert await veo._files._addresses(httpx.URL("https://8.8.8.8/film")) == ("8.8.8.8",)
    stub.answers["/film"] = Answer(body=b"film")
    file, url = io.BytesIO(), httpx.URL(f"http://films.invalid:{stub.port}/film")
    assert await veo._rest.fetch_elsewhere(url, ["127.0.0.1"], file, 100) is None
    assert file.getvalue() == b"film"
    (asked,) = stub.asked
    assert asked.headers["host"] == f"films.invalid:{stub.port}"
    assert "x-goog-api-key" not in asked.headers


@pytest.fixture
def without_time_zones() -> Iterator[None]:
    """An image without time zone data."""
    zoneinfo.reset_tzpath(to=())
    ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath()


SUMMER_EVENING = datetime(2026, 7, 1, 23, 0, tzinfo=timezone(timedelta(hours=-7)))


def test_the_daily_quota_starts_anew_at_midnight_in_california() -> None:
    assert seconds_until_quota_reset(SUMMER_EVENING) == 3600


@pytest.mark.usefixtures("without_time_zones")
def test_without_time_zones_it_is_waited_for_an_hour_longer_in_summer() -> None:
    assert seconds_until_quota_reset(SUMMER_EVENING) == 7200
