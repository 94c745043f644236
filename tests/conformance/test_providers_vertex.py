"""What only Vertex does: projects, locations and Google credentials, and videos inside their operations."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.credentials import Credentials

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.google import access, inline_base64
from superstoryboard.providers.google.access import GoogleLogin
from superstoryboard.providers.google.inline_base64 import NotBase64Error, copy_base64
from superstoryboard.providers.google.veo_vertex import VeoVertex
from superstoryboard.providers.routes import Call, OperationDone
from tests.conformance.http_stub import Answer, Stub, serve
from tests.conformance.video_routes import VERTEX_NAME, VERTEX_POLL, encoded, inline

PARENT = "projects/p/locations/europe-west4/publishers/google/models"
SUBMIT = f"/v1beta1/{PARENT}/veo-3.1-generate-001:predictLongRunning"
CALL = Call(model="veo-3.1-generate-001", prompt="a fox", aspect_ratio="16:9", duration_seconds=8, resolution="4k")


@pytest.fixture(autouse=True)
def submits_are_accepted(stub: Stub) -> None:
    stub.answers[SUBMIT] = Answer(body=encoded({"name": VERTEX_NAME}))


def in_project(stub: Stub, login: GoogleLogin | None = None) -> VeoVertex:
    return VeoVertex(project="p", location="europe-west4", base_url=stub.url, access=login)


async def failure(vertex: VeoVertex) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as caught:
        await vertex.submit(CALL)
    await vertex.aclose()
    return caught.value


async def test_a_project_pays_with_the_token_of_its_credentials(stub: Stub) -> None:
    login = GoogleLogin(Credentials(token="a-token", quota_project_id="payer"))  # type: ignore[no-untyped-call]
    vertex = in_project(stub, login)
    assert await vertex.submit(CALL) == VERTEX_NAME
    await vertex.aclose()
    headers = stub.asked[0].headers
    assert (headers["authorization"], headers["x-goog-user-project"]) == ("Bearer a-token", "payer")
    assert "x-goog-api-key" not in headers
    parameters = json.loads(stub.asked[0].body)["parameters"]
    assert (parameters["sampleCount"], parameters["generateAudio"], parameters["resolution"]) == (1, True, "4k")
    assert "storageUri" not in parameters


def service_account(folder: Path, token_uri: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {"type": "service_account", "client_email": "a@b", "private_key": pem, "token_uri": token_uri}
    file = folder / "account.json"
    file.write_text(json.dumps(account | {"project_id": "p", "private_key_id": "1", "client_id": "2"}))
    return str(file)


async def test_credentials_come_from_the_environment_and_are_renewed_when_they_end(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", service_account(tmp_path, f"{stub.url}/token"))
    stub.answers["/token"] = Answer(
        body=b'{"access_token":"fresh","expires_in":3600,"token_type":"Bearer"}',
        headers={"content-type": "application/json"},
    )
    vertex = in_project(stub)
    await vertex.submit(CALL)
    await vertex.submit(CALL)
    await vertex.aclose()
    assert [asked.target for asked in stub.asked] == ["/token", SUBMIT, SUBMIT]
    assert stub.asked[-1].headers["authorization"] == "Bearer fresh"


async def test_a_token_that_ends_is_renewed_and_one_that_does_not_come_in_time_costs_nothing(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", service_account(tmp_path, f"{stub.url}/token"))
    ending = Answer(
        body=b'{"access_token":"short","expires_in":1,"token_type":"Bearer"}',
        headers={"content-type": "application/json"},
    )
    stub.queued["/token"] = [ending, ending, Answer(stall=True, length=1)]
    vertex = in_project(stub)
    await vertex.submit(CALL)
    await vertex.submit(CALL)
    monkeypatch.setattr(access, "TOKEN_SECONDS", 0.1)
    failed = await failure(vertex)
    assert (failed.error.error_class.value, failed.outcome) == ("TRANSIENT", CallOutcome.UNPAID)
    assert failed.error.message == "Google's token service did not respond in time"
    assert [asked.target for asked in stub.asked][:4] == ["/token", SUBMIT] * 2
    assert SUBMIT not in [asked.target for asked in stub.asked][4:]


async def test_credentials_that_are_missing_or_refused_cost_nothing(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    failed = await failure(in_project(stub))
    assert (failed.error.error_class.value, failed.error.code) == ("CONFIG", "PROVIDER_ACCESS_DENIED")
    assert (failed.error.message, failed.outcome) == (
        "no Google credentials are configured. Set up Application Default Credentials",
        CallOutcome.UNPAID,
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", service_account(tmp_path, f"{stub.url}/token"))
    stub.answers["/token"] = Answer(400, b'{"error":"invalid_grant"}', {"content-type": "application/json"})
    failed = await failure(in_project(stub))
    assert (failed.error.error_class.value, failed.outcome) == ("CONFIG", CallOutcome.UNPAID)
    assert "invalid_grant" not in failed.error.message
    assert {asked.target for asked in stub.asked} == {"/token"}


async def test_a_token_service_that_is_away_is_asked_again_and_costs_nothing(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as gone:
        away = gone.url
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", service_account(tmp_path, f"{away}/token"))
    vertex = in_project(stub)
    with pytest.raises(ProviderFailure) as polled:
        await vertex.poll(VERTEX_NAME)
    assert (polled.value.error.error_class.value, polled.value.outcome) == ("TRANSIENT", CallOutcome.UNKNOWN)
    failed = await failure(vertex)
    assert (failed.error.error_class.value, failed.outcome) == ("TRANSIENT", CallOutcome.UNPAID)
    assert stub.asked == []


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ({"api_key": "k"}, "aiplatform.googleapis.com"),
        ({"project": "p"}, "us-central1-aiplatform.googleapis.com"),
        ({"project": "p", "location": "global"}, "us-central1-aiplatform.googleapis.com"),
        ({"project": "p", "location": "europe-west4"}, "us-central1-aiplatform.googleapis.com"),
        ({"project": "p", "base_url": "https://proxy/vertex/"}, "proxy/vertex"),
    ],
)
async def test_an_operation_is_asked_for_where_it_runs(given: dict[str, str], host: str) -> None:
    vertex = VeoVertex(**given)  # type: ignore[arg-type]
    url, body = vertex._question(VERTEX_NAME)
    assert url == f"https://{host}/v1beta1/{VERTEX_NAME.partition('/operations/')[0]}:fetchPredictOperation"
    assert json.loads(body) == {"operationName": VERTEX_NAME}
    await vertex.aclose()


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
async def test_a_location_has_its_own_host(location: str, host: str) -> None:
    vertex = VeoVertex(project="p", location=location)
    assert vertex._root(vertex._location) == f"https://{host}/v1beta1"
    await vertex.aclose()


async def test_a_video_in_a_bucket_is_a_clear_error(stub: Stub) -> None:
    vertex = VeoVertex(api_key="k", base_url=stub.url)
    response = {"videos": [{"gcsUri": "gs://bucket/film.mp4", "mimeType": "video/mp4"}]}
    stub.answers[VERTEX_POLL] = Answer(body=encoded({"name": VERTEX_NAME, "done": True, "response": response}))
    with pytest.raises(ProviderFailure, match="stored the video in a Cloud Storage bucket") as caught:
        await vertex.poll(VERTEX_NAME)
    assert (caught.value.error.code, caught.value.outcome) == ("VIDEO_IN_CLOUD_STORAGE", CallOutcome.PAID)
    await vertex.aclose()


async def test_a_large_answer_that_is_no_video_says_nothing(stub: Stub) -> None:
    vertex = VeoVertex(api_key="k", base_url=stub.url)
    stub.answers[VERTEX_POLL] = Answer(body=b'{"name":"' + b"x" * 200_000 + b'"}')
    with pytest.raises(ProviderFailure) as caught:
        await vertex.poll(VERTEX_NAME)
    assert (caught.value.error.code, caught.value.outcome) == ("UNREADABLE_RESPONSE", CallOutcome.UNKNOWN)
    await vertex.aclose()


@pytest.mark.parametrize("body", [b"{}", b'{"bytesBase64Encoded": "AAA', b'{"bytesBase64Encoded": "A?=="}'])
async def test_a_download_that_holds_no_video_is_tried_again(stub: Stub, tmp_path: Path, body: bytes) -> None:
    vertex = VeoVertex(api_key="k", base_url=stub.url)
    stub.answers[VERTEX_POLL] = Answer(body=body)
    with pytest.raises(ProviderFailure) as caught:
        await vertex.download(VERTEX_NAME, tmp_path / "film", 100)
    assert (caught.value.error.code, caught.value.outcome) == ("UNREADABLE_RESPONSE", CallOutcome.PAID)
    assert not (tmp_path / "film").exists()
    assert not (tmp_path / "film.json").exists()
    await vertex.aclose()


async def test_only_the_beginning_of_a_video_is_read_by_a_poll(stub: Stub) -> None:
    vertex = VeoVertex(api_key="k", base_url=stub.url)
    stub.answers[VERTEX_POLL] = Answer(body=inline(bytes(200_000))[:100_000], length=10_000_000, cut=True)
    assert await vertex.poll(VERTEX_NAME) == OperationDone(VERTEX_NAME)
    await vertex.aclose()


@pytest.mark.parametrize("size", range(13))
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 64])
def test_base64_is_decoded_whatever_the_pieces(monkeypatch: pytest.MonkeyPatch, size: int, chunk: int) -> None:
    monkeypatch.setattr(inline_base64, "CHUNK_BYTES", chunk)
    video = bytes(255 - number for number in range(size))
    text = inline(video)
    head = text.index(b'"bytesBase64Encoded"') + len(b'"bytesBase64Encoded": "')
    for within in (head, head + 1, head + 3, len(text)):
        target = io.BytesIO()
        assert copy_base64(io.BytesIO(text), target, "bytesBase64Encoded", within=within) == size
        assert target.getvalue() == video


def test_the_field_must_begin_where_it_is_looked_for() -> None:
    with pytest.raises(NotBase64Error):
        copy_base64(io.BytesIO(b" " * 100 + b'"a":"AAAA"'), io.BytesIO(), "a", within=50)


def test_a_large_video_is_decoded_in_little_memory(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(inline(bytes(30_000_000)))
    tracemalloc.start()
    with source.open("rb") as given, target.open("wb") as made:
        assert copy_base64(given, made, "bytesBase64Encoded", within=65536) == 30_000_000
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()
    assert target.stat().st_size == 30_000_000
    assert not re.search(rb"[^\0]", target.read_bytes())
