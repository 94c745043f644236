"""Doctor where something answers that is not what a setting says, or not well: each is named, and nothing is bought."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from superstoryboard.inspection.google import GoogleInspectionError, ModelAnswer, inspect_google
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import generation_service_pb2_grpc as api_grpc
from tests.conformance.http_stub import Answer, Stub
from tests.doctor.fixture import Doctor
from tests.running import Service, running, token

CATALOGUE = Catalogue.load()
KEY = "a-key-of-google"


def told(code: int, message: str, **more: Any) -> Answer:
    """An error as Google writes it."""
    return Answer(code, json.dumps({"error": {"code": code, "message": message} | more}).encode())


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (Answer(200, b"<html>"), 1, "Correct GOOGLE_GEMINI_BASE_URL"),
        (Answer(200, b"[]"), 1, "Correct GOOGLE_GEMINI_BASE_URL"),
        (Answer(400, b"{}"), 1, "Correct GOOGLE_GEMINI_BASE_URL"),
        (told(404, "Not here"), 1, "Correct GOOGLE_GEMINI_BASE_URL"),
        (told(503, "Overloaded", status="UNAVAILABLE"), 0, "Google is overloaded or the quota is exhausted"),
        (told(429, "Too many", status="RESOURCE_EXHAUSTED"), 0, "Google is overloaded or the quota is exhausted"),
        (told(403, "Blocked", status="PERMISSION_DENIED"), 1, "may not call the Gemini API"),
        (Answer(cut=True), 3, "Google is not reachable"),
    ],
)
async def test_what_is_not_google_or_not_well(
    doctor: Doctor, stub: Stub, answer: Answer, code: int, words: str
) -> None:
    doctor.hide(KEY)
    doctor.set(GOOGLE_GENERATIVE_AI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=stub.url)
    for kind in ("image", "video"):
        stub.answers[f"/v1beta/models/{CATALOGUE.default_name(kind)}"] = answer
    result = await asyncio.to_thread(doctor)
    assert (result.code, words in result.sentence("google key")) == (code, True)
    if code == 0:
        assert result.state("image model") == "warning"
        assert words in result.sentence("image model")


async def test_google_that_takes_too_long_and_names_that_no_address_holds(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superstoryboard.inspection.google.TIMEOUT_SECONDS", 0.0)
    async with inspect_google(stub.url, "v1beta", KEY) as google:
        assert await google.model("../files") is ModelAnswer.MISSING
        with pytest.raises(GoogleInspectionError, match="did not respond in time"):
            await google.model("a-model")
    assert stub.asked == []


def test_a_key_that_cannot_be_sent_is_a_wrong_one(doctor: Doctor) -> None:
    doctor.hide("schlüssel")
    doctor.set(GOOGLE_GENERATIVE_AI_API_KEY="schlüssel")
    result = doctor()
    assert (result.code, "was rejected" in result.sentence("google key")) == (1, True)


def test_a_catalogue_that_is_not_there_is_no_reason_to_buy(doctor: Doctor, tmp_path: Path) -> None:
    doctor.hide(KEY)
    doctor.set(GOOGLE_GENERATIVE_AI_API_KEY=KEY, MODEL_CATALOGUE=str(tmp_path / "absent.json"))
    result = doctor("--spend", "--yes")
    assert result.code == 2
    assert "cannot be read: No such file or directory. Correct MODEL_CATALOGUE" in result.sentence("catalogue")
    assert result.state("image") == "failed"


class Jobs(api_grpc.GenerationServiceServicer):
    """A service that lists no jobs, and knows nothing of queues."""

    def ListJobs(self, request: api.ListJobsRequest, context: grpc.ServicerContext) -> api.ListJobsResponse:
        del request, context
        return api.ListJobsResponse()


@pytest.fixture
def server() -> Iterator[tuple[grpc.Server, str]]:
    """A gRPC server without any service, and its address."""
    started = grpc.server(ThreadPoolExecutor(2))
    port = started.add_insecure_port("127.0.0.1:0")
    yield started, f"127.0.0.1:{port}"
    started.stop(None).wait()


def test_another_grpc_service_at_the_address_of_ingest(doctor: Doctor, server: tuple[grpc.Server, str]) -> None:
    started, address = server
    started.start()
    doctor.set(INGEST_ADDRESS=address)
    result = doctor()
    assert (result.code, result.failed) == (1, ["ingest"])
    assert result.sentence("ingest") == f"{address} is another service. Set INGEST_ADDRESS to where it runs."


@pytest.mark.parametrize("lists_jobs", [True, False])
def test_a_token_that_could_not_be_checked_is_not_called_wrong(
    doctor: Doctor, server: tuple[grpc.Server, str], lists_jobs: bool
) -> None:
    started, address = server
    healthy = health.HealthServicer()
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, started)
    if lists_jobs:
        api_grpc.add_GenerationServiceServicer_to_server(Jobs(), started)
    started.start()
    secret = token()
    doctor.hide(secret)
    doctor.set(INGEST_ADDRESS=address, STORYBOARD_TOKEN=secret)
    result = doctor()
    assert (result.code, result.state("ingest"), result.failed) == (3, "ok", ["token"])
    assert "ingest could not check the token" in result.sentence("token")


@pytest.fixture
def trusting(database_url: str, tmp_path: Path) -> Iterator[Service]:
    settings = {"DATABASE_URL": database_url, "SUPABASE_JWT_SECRET": "", "AUTH_DISABLED": "true"}
    with running("ingest", settings, tmp_path / "log") as service:
        yield service


def test_an_ingest_that_trusts_everybody_is_warned_of(doctor: Doctor, trusting: Service) -> None:
    doctor.set(INGEST_ADDRESS=trusting.address)
    result = doctor()
    assert (result.code, result.state("token")) == (0, "warning")
    assert "ingest trusts every caller" in result.sentence("token")


async def test_storage_over_the_internet_without_tls_is_warned_of(
    doctor: Doctor, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy answers for the address."""
    url = "http://storage.example.com"
    monkeypatch.setenv("http_proxy", stub.url)
    stub.answers[f"{url}/storage/v1/bucket"] = Answer(400, b'{"statusCode": "401", "message": "no key"}')
    doctor.set(SUPABASE_URL=url)
    result = await asyncio.to_thread(doctor)
    assert result.state("storage") == "warning"
    assert "Use https: keys are sent in plain text" in result.sentence("storage")
    stub.answers[f"{url}/storage/v1/bucket"] = Answer(502, b"<html>")
    result = await asyncio.to_thread(doctor)
    assert (result.code, "Storage is unavailable (HTTP 502)" in result.sentence("storage")) == (3, True)
