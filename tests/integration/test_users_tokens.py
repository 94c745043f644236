"""Tokens of users of a project that publishes its keys: a real ingest with nothing but SUPABASE_URL to know them by."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest

from devstack.stack.ports import free_port
from devstack.stack.postgres import Postgres
from devstack.stack.tokens import SigningKey
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.claims import ClaimRules
from superstoryboard.rpc.jwts import JwtVerifier
from superstoryboard.rpc.key_refresh import TokenKeys
from superstoryboard.rpc.key_schedule import KeyTimes
from superstoryboard.rpc.key_sources import KeyUrl
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.metrics import RpcMetrics
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import (
    GenerationServiceServicer,
    GenerationServiceStub,
    add_GenerationServiceServicer_to_server,
)
from superstoryboard.v1.queue_service_pb2 import ListQueuesRequest
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.auth_server import AuthServer, auth_server
from tests.conftest import TEMPLATE, admin
from tests.running import SECRET, Service, bearer, running, token
from tests.scrape import scrape
from tests.wire import reason, refused

KEY = SigningKey()
OWN = [("grpc.use_local_subchannel_pool", 1)]
WATCH = api.WatchJobsRequest(storyboard_id="story")
WITHOUT_SECRET = {"SUPABASE_JWT_SECRET": ""}


def session(issuer: str, key: SigningKey = KEY, **changes: object) -> str:
    claims = {"iss": issuer, "sub": "alice", "role": "authenticated", "aud": "authenticated"}
    return key.sign({**claims, "exp": time.time() + 3600, **changes})


@pytest.fixture(scope="module")
def own_database_url(postgres: Postgres) -> Iterator[str]:
    admin(postgres, f"create database users_tokens template {TEMPLATE}")
    yield postgres.url_of("users_tokens")
    admin(postgres, "drop database users_tokens with (force)")


@pytest.fixture(scope="module")
def auth() -> Iterator[AuthServer]:
    with auth_server(KEY.published) as server:
        yield server


@pytest.fixture(scope="module")
def ingest(auth: AuthServer, own_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"DATABASE_URL": own_database_url, "SUPABASE_URL": auth.url} | WITHOUT_SECRET
    with running("ingest", settings, tmp_path_factory.mktemp("ingest") / "log") as service:
        yield service


@pytest.fixture
def stub(ingest: Service) -> Iterator[GenerationServiceStub]:
    with grpc.insecure_channel(ingest.address, OWN) as channel:
        yield GenerationServiceStub(channel)


def listed(stub: GenerationServiceStub, value: str) -> str:
    """OK, or the reason why the jobs are not listed."""
    try:
        stub.ListJobs(api.ListJobsRequest(), metadata=bearer(value), timeout=20)
    except grpc.RpcError as error:
        return reason(error)
    return "OK"


def test_a_session_of_the_project_is_all_that_a_user_needs(stub: GenerationServiceStub, auth: AuthServer) -> None:
    assert listed(stub, session(auth.issuer)) == "OK"


def forgeries(issuer: str) -> dict[str, tuple[str, str]]:
    claims = {"iss": issuer, "sub": "alice", "role": "service_role", "aud": "authenticated", "exp": time.time() + 60}
    kid = {"kid": KEY.kid}
    x = KEY.published["x"]
    return {
        "public key as secret": (jwt.encode(claims, x, algorithm="HS256", headers=kid), "TOKEN_INVALID"),
        "none": (jwt.encode(claims, "", algorithm="none", headers=kid), "TOKEN_INVALID"),
        "shared secret": (token(iss=issuer), "TOKEN_INVALID"),
        "other key": (SigningKey(KEY.kid).sign(claims), "TOKEN_INVALID"),
        "other kid": (SigningKey("../../jwks.json").sign(claims), "TOKEN_KEY_UNKNOWN"),
        "issuer": (session("https://other.supabase.co/auth/v1"), "TOKEN_ISSUER_REFUSED"),
        "expired": (session(issuer, exp=time.time() - 60), "TOKEN_EXPIRED"),
        "nbf": (session(issuer, nbf=time.time() + 600), "TOKEN_NOT_YET_VALID"),
        "audience": (session(issuer, aud="anon"), "TOKEN_AUDIENCE_REFUSED"),
        "role": (session(issuer, role="anon"), "TOKEN_ROLE_REFUSED"),
        "anonymous": (session(issuer, is_anonymous=True), "ANONYMOUS_REFUSED"),
        "api key": (token(role="service_role", iss="supabase", ref="abc", aud=None), "TOKEN_API_KEY"),
        "new api key": ("sb_secret_abcdefgh", "TOKEN_API_KEY"),
    }


@pytest.mark.parametrize("name", forgeries("issuer"))
def test_forged_tokens_are_refused_with_the_rule(stub: GenerationServiceStub, auth: AuthServer, name: str) -> None:
    value, why = forgeries(auth.issuer)[name]
    assert listed(stub, value) == why


def test_a_user_is_no_service(ingest: Service, auth: AuthServer) -> None:
    with grpc.insecure_channel(ingest.address, OWN) as channel:
        queues = QueueServiceStub(channel)
        error = refused(lambda: queues.ListQueues(ListQueuesRequest(), metadata=bearer(session(auth.issuer))))
        assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")


def test_a_watch_ends_with_its_session(stub: GenerationServiceStub, auth: AuthServer) -> None:
    ends = int(time.time()) + 3
    metadata = bearer(session(auth.issuer, exp=ends))
    error = refused(lambda: list(stub.WatchJobs(WATCH, metadata=metadata, timeout=60)))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert ends <= time.time()


def test_the_secret_works_beside_the_keys_and_nothing_of_either_is_logged(
    auth: AuthServer, own_database_url: str, tmp_path: Path
) -> None:
    page = f"127.0.0.1:{free_port()}"
    settings = {"DATABASE_URL": own_database_url, "SUPABASE_URL": auth.url, "METRICS_LISTEN": page}
    tokens = [session(auth.issuer), token(), token(iss=auth.issuer)]
    foreign = token(iss="https://other.supabase.co/auth/v1")
    with (
        running("ingest", settings, tmp_path / "log") as service,
        grpc.insecure_channel(service.address, OWN) as channel,
    ):
        stub = GenerationServiceStub(channel)
        assert [listed(stub, each) for each in tokens] == ["OK"] * 3
        assert listed(stub, foreign) == "TOKEN_ISSUER_REFUSED"
        samples = scrape(page)
        assert (samples("token_key_refreshes_total", outcome="ok"), samples("token_keys")) == (1, 1)
        assert 0 <= (samples("token_keys_age_seconds") or 0) < 60
    log = (tmp_path / "log").read_text()
    assert "Read the keys of users' tokens" in log
    for secret in (SECRET, foreign, KEY.published["x"], *tokens):
        assert secret not in log


def test_a_process_starts_without_auth_and_takes_tokens_once_it_is_there(own_database_url: str, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"DATABASE_URL": own_database_url, "SUPABASE_URL": url} | WITHOUT_SECRET
    value = session(f"{url}/auth/v1")
    with (
        running("ingest", settings, tmp_path / "log") as service,
        grpc.insecure_channel(service.address, OWN) as channel,
    ):
        stub = GenerationServiceStub(channel)
        error = refused(lambda: stub.ListJobs(api.ListJobsRequest(), metadata=bearer(value)))
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "TOKEN_KEYS_UNAVAILABLE")
        with auth_server(KEY.published, port=port) as auth:
            until(stub, value, "OK")
            assert auth.reads() == 1
        assert listed(stub, value) == "OK"  # Auth is away again


def until(stub: GenerationServiceStub, value: str, result: str) -> list[str]:
    """Call until it ends like this; what came before."""
    outcomes: list[str] = []
    deadline = time.monotonic() + 60
    while (last := listed(stub, value)) != result:
        outcomes.append(last)
        assert time.monotonic() < deadline, outcomes[-3:]
    return outcomes


def test_keys_from_a_file(own_database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [KEY.published]}))
    settings = {"SUPABASE_JWKS_FILE": str(file), "JWT_ISSUERS": "https://a/auth/v1, https://b/auth/v1"}
    with (
        running("ingest", {"DATABASE_URL": own_database_url} | settings | WITHOUT_SECRET, tmp_path / "log") as service,
        grpc.insecure_channel(service.address, OWN) as channel,
    ):
        stub = GenerationServiceStub(channel)
        assert listed(stub, session("https://b/auth/v1")) == "OK"
        assert listed(stub, session("https://c/auth/v1")) == "TOKEN_ISSUER_REFUSED"


class Jobs(GenerationServiceServicer):
    """Lists no jobs."""

    async def ListJobs(self, request: Any, context: Any) -> api.ListJobsResponse:
        del request, context
        return api.ListJobsResponse()


@asynccontextmanager
async def short_times(auth: AuthServer, times: KeyTimes) -> AsyncIterator[Any]:
    """A server of ours that reads keys as processes do, only more often."""
    keys = TokenKeys(KeyUrl(auth.jwks_url), times=times)
    verifier = JwtVerifier(ClaimRules(issuers=frozenset({auth.issuer})), keys=keys)
    address = f"127.0.0.1:{free_port()}"
    server = Server(address, Authenticator([verifier], keys), RpcMetrics())
    server.add("superstoryboard.v1.GenerationService", add_GenerationServiceServicer_to_server, Jobs())
    await server.start(reflect=False)
    keeping = asyncio.gather(*(duty for _, duty in server.duties()))
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = GenerationServiceStub(channel)

            async def listed(value: str) -> str:
                try:
                    await stub.ListJobs(api.ListJobsRequest(), metadata=bearer(value))
                except grpc.aio.AioRpcError as error:
                    return reason(error)
                return "OK"

            yield listed
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await server.stop(0)


async def test_a_rotated_key_works_after_the_first_tokens_that_name_it() -> None:
    with auth_server(KEY.published) as auth:
        await _rotate(auth)


async def _rotate(auth: AuthServer) -> None:
    async with short_times(auth, KeyTimes(refresh=10_000, gap=0.2)) as listed:
        new = SigningKey()
        assert await listed(session(auth.issuer)) == "OK"
        assert await listed(session(auth.issuer, new)) == "TOKEN_KEY_UNKNOWN"
        await asyncio.to_thread(auth.publish, KEY.published, new.published)
        async with asyncio.timeout(60):
            while await listed(session(auth.issuer, new)) != "OK":
                pass
        assert await listed(session(auth.issuer)) == "OK"
        await asyncio.to_thread(auth.publish, new.published)  # the old one is revoked
        async with asyncio.timeout(60):
            while await listed(session(auth.issuer)) == "OK":
                await listed(session(auth.issuer, SigningKey()))
        assert await listed(session(auth.issuer)) == "TOKEN_KEY_UNKNOWN"


@pytest.mark.parametrize("answer", [{}, {"status": 503, "times": 1000}, {"hold": True}], ids=["good", "bad", "none"])
async def test_a_storm_of_unknown_keys_brings_one_read_a_gap(answer: dict[str, Any]) -> None:
    with auth_server(KEY.published) as auth:
        async with short_times(auth, KeyTimes(refresh=10_000, gap=30)) as listed:
            await asyncio.to_thread(auth.reset)
            if answer:
                await asyncio.to_thread(lambda: auth.script(**answer))
            began = time.monotonic()
            for _ in range(300):
                assert await listed(session(auth.issuer, SigningKey())) == "TOKEN_KEY_UNKNOWN"
            assert await listed(session(auth.issuer)) == "OK"
            gaps = (time.monotonic() - began) // 30
            assert await asyncio.to_thread(auth.reads) <= gaps + 1


async def test_calls_do_not_wait_for_a_read_that_hangs() -> None:
    with auth_server(KEY.published) as auth:
        async with short_times(auth, KeyTimes(refresh=10_000, gap=0)) as listed:
            await asyncio.to_thread(lambda: auth.script(hold=True))
            assert await listed(session(auth.issuer, SigningKey())) == "TOKEN_KEY_UNKNOWN"
            await asyncio.to_thread(auth.wait_held)
            assert await listed(session(auth.issuer)) == "OK"
            assert auth.held() == 1  # it still hangs
