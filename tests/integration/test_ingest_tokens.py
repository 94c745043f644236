"""Which tokens ingest takes: a real process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import grpc
import jwt
import pytest

from devstack.stack.postgres import Postgres
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.conftest import TEMPLATE, admin
from tests.running import ALICE, SECRET, SERVICE, Service, bearer, running
from tests.wire import raw_call, reason, refused

LIMITS = {"GRPC_CALLS_PER_TOKEN": "16", "WATCHES_PER_OWNER": "3"}

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture(scope="module")
def ingest_database(postgres: Postgres) -> Iterator[str]:
    admin(postgres, f"create database ingest_limits template {TEMPLATE}")
    yield postgres.url_of("ingest_limits")
    admin(postgres, "drop database ingest_limits with (force)")


@pytest.fixture(scope="module")
def ingest(ingest_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"DATABASE_URL": ingest_database, "DATABASE_LISTEN_URL": ingest_database} | LIMITS
    with running("ingest", settings, tmp_path_factory.mktemp("ingest") / "log") as service:
        yield service


@pytest.fixture
def channel(ingest: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(ingest.address, UNLIMITED) as opened:
        raw_call(opened, "GenerationService/ListJobs")(b"", metadata=ALICE)  # all is imported
        yield opened


@pytest.fixture
def stub(channel: grpc.Channel) -> GenerationServiceStub:
    return GenerationServiceStub(channel)


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"sub": "x" * 129}, "printable"),
        ({"sub": "a\nb"}, "printable"),
        ({"sub": "a\0b"}, "printable"),
        ({"sub": "\ud800"}, "printable"),
        ({"sub": "  "}, "sub"),
        ({"sub": 7}, "string"),
        ({"sub": ["a"]}, "string"),
        ({"sub": {"a": "b"}}, "string"),
        ({"sub": "service_role", "role": "service_role"}, "reserved"),
        ({"sub": "local"}, "reserved"),
        ({"sub": "sql"}, "reserved"),
        ({"exp": float("inf")}, "valid"),
        ({"exp": "soon"}, "valid"),
        ({"exp": [1]}, "valid"),
        ({"nbf": 10**40}, "valid"),
        ({"nbf": {"a": 1}}, "valid"),
        ({"aud": {"a": 1}}, "valid"),
        ({"role": ["service_role"]}, "role"),
    ],
)
def test_odd_claims_are_refused(stub: GenerationServiceStub, claims: dict[str, object], word: str) -> None:
    whole = {"sub": "alice", "role": "authenticated", "aud": "authenticated", "exp": time.time() + 3600} | claims
    signed = jwt.PyJWS().encode(_json(whole), SECRET)
    error = refused(lambda: stub.ListJobs(api.ListJobsRequest(), metadata=bearer(signed)))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert word in str(error.details())


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("body", [b"[" * 5000 + b"]" * 5000, b'{"exp": ' + b"9" * 5000 + b"}", b"\xff", b"null", b"[]"])
def test_a_token_that_holds_no_claims_is_refused(stub: GenerationServiceStub, body: bytes) -> None:
    metadata = bearer(jwt.PyJWS().encode(body, SECRET))
    error = refused(lambda: stub.ListJobs(api.ListJobsRequest(), metadata=metadata))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_two_tokens_are_one_too_many(stub: GenerationServiceStub) -> None:
    error = refused(lambda: stub.ListJobs(api.ListJobsRequest(), metadata=(*ALICE, *SERVICE)))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_AMBIGUOUS")
