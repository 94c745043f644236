"""Which tokens ingest takes: a real process."""

from __future__ import annotations

import json
import time

import grpc
import jwt
import pytest

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.integration.ingest_calls import LIMITS
from tests.running import ALICE, SECRET, SERVICE, bearer
from tests.wire import reason, refused


@pytest.fixture(scope="module")
def ingest_settings() -> dict[str, str]:
    return LIMITS


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
def test_odd_claims_are_refused(generation: GenerationServiceStub, claims: dict[str, object], word: str) -> None:
    whole = {"sub": "alice", "role": "authenticated", "aud": "authenticated", "exp": time.time() + 3600} | claims
    signed = jwt.PyJWS().encode(_json(whole), SECRET)
    error = refused(lambda: generation.ListJobs(api.ListJobsRequest(), metadata=bearer(signed)))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert word in str(error.details())


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("body", [b"[" * 5000 + b"]" * 5000, b'{"exp": ' + b"9" * 5000 + b"}", b"\xff", b"null", b"[]"])
def test_a_token_that_holds_no_claims_is_refused(generation: GenerationServiceStub, body: bytes) -> None:
    metadata = bearer(jwt.PyJWS().encode(body, SECRET))
    error = refused(lambda: generation.ListJobs(api.ListJobsRequest(), metadata=metadata))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_two_tokens_are_one_too_many(generation: GenerationServiceStub) -> None:
    error = refused(lambda: generation.ListJobs(api.ListJobsRequest(), metadata=(*ALICE, *SERVICE)))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_AMBIGUOUS")
