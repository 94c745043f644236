"""Service tokens against real processes of ingest: made, used on behalf of owners, revoked, and out of reach."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psycopg
import pytest

from superstoryboard.domain.service_tokens import fingerprint
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1 import token_service_pb2 as token_api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from superstoryboard.v1.token_service_pb2_grpc import TokenServiceStub
from tests.integration.ingest_calls import image
from tests.integration.token_steps import LIST, behalf, create, hours, until
from tests.running import ALICE, BOB, SERVICE, Metadata, Service, bearer
from tests.wire import reason, refused, wrong_fields

SERVICE_ROLE = token_api.ServiceTokenRole.SERVICE_TOKEN_ROLE_SERVICE_ROLE
WORKER = token_api.ServiceTokenRole.SERVICE_TOKEN_ROLE_WORKER
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def tokens(channel: grpc.Channel) -> TokenServiceStub:
    return TokenServiceStub(channel)


@pytest.fixture
def table(module_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def made(tokens: TokenServiceStub) -> Callable[..., str]:
    """Makes a service token by RPC."""

    def make(name: str, role: Any = SERVICE_ROLE, **fields: Any) -> str:
        request = token_api.CreateServiceTokenRequest(name=name, role=role, **fields)
        return tokens.CreateServiceToken(request, metadata=SERVICE).token

    return make


def test_a_token_is_shown_once_and_kept_as_its_hash(
    tokens: TokenServiceStub, generation: GenerationServiceStub, table: psycopg.Connection, ingest: Service
) -> None:
    request = token_api.CreateServiceTokenRequest(name="first", role=SERVICE_ROLE)
    request.expire_time.FromDatetime(hours(1))
    answer = tokens.CreateServiceToken(request, metadata=SERVICE)
    listed = {each.name: each for each in tokens.ListServiceTokens(_list(), metadata=SERVICE).service_tokens}["first"]
    assert listed == answer.service_token
    assert (listed.created_by, listed.expire_time) == ("backend", request.expire_time)
    row = table.execute("select t::text from superstoryboard.service_tokens t where name = 'first'").fetchone()
    assert fingerprint(answer.token) in str(row)
    assert answer.token[4:] not in str(row)
    until(generation, answer.token, "OK")
    tokens.RevokeServiceToken(token_api.RevokeServiceTokenRequest(name="first"), metadata=SERVICE)
    until(generation, answer.token, "TOKEN_REVOKED")
    lines = [json.loads(line) for line in ingest.log.read_text().splitlines() if "a service token" in line]
    told = [(line["event"], line["token_name"], line["by"]) for line in lines if line["token_name"] == "first"]
    assert told == [("Created a service token", "first", "backend"), ("Revoked a service token", "first", "backend")]
    assert answer.token[4:] not in ingest.log.read_text()
    assert fingerprint(answer.token) not in ingest.log.read_text()


def _list() -> token_api.ListServiceTokensRequest:
    return token_api.ListServiceTokensRequest()


def test_names_are_unique_among_live_tokens(
    tokens: TokenServiceStub, made: Callable[..., str], table: psycopg.Connection
) -> None:
    made("twin")
    request = token_api.CreateServiceTokenRequest(name="twin", role=SERVICE_ROLE)
    error = refused(lambda: tokens.CreateServiceToken(request, metadata=SERVICE))
    assert (error.code(), reason(error)) == (grpc.StatusCode.ALREADY_EXISTS, "TOKEN_NAME_IN_USE")
    table.execute("update superstoryboard.service_tokens set expires_at = now() - interval '1 s' where name = 'twin'")
    made("twin")  # the first has expired
    tokens.RevokeServiceToken(token_api.RevokeServiceTokenRequest(name="twin"), metadata=SERVICE)
    again = refused(
        lambda: tokens.RevokeServiceToken(token_api.RevokeServiceTokenRequest(name="twin"), metadata=SERVICE)
    )
    assert again.code() is grpc.StatusCode.NOT_FOUND
    made("twin")
    listed = tokens.ListServiceTokens(_list(), metadata=SERVICE).service_tokens
    assert sorted(each.revoked_by for each in listed if each.name == "twin") == ["", "backend", "expiry"]


def test_there_is_an_end_to_live_tokens(tokens: TokenServiceStub, table: psycopg.Connection) -> None:
    table.execute(
        "insert into superstoryboard.service_tokens (sha256, name, role, created_by)"
        " select encode(sha256(n::text::bytea), 'hex'), 'many-' || n, 'service_role', 'test'"
        " from generate_series(1, 1000) n"
    )
    request = token_api.CreateServiceTokenRequest(name="more", role=SERVICE_ROLE)
    error = refused(lambda: tokens.CreateServiceToken(request, metadata=SERVICE))
    table.execute("delete from superstoryboard.service_tokens where name like 'many-%'")
    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_TOKENS")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "Upper"}, {"name"}),
        ({"name": ""}, {"name"}),
        ({"name": "a" * 32}, {"name"}),
        ({"name": "local"}, {"name"}),
        ({"role": 0}, {"role"}),
        ({"role": 9}, {"role"}),
        ({"owner": "sql"}, {"owner"}),
        ({"owner": " "}, {"owner"}),
        ({"queues": ["image_generation_queue"]}, {"queues"}),
        ({"role": WORKER}, {"queues"}),
        ({"role": WORKER, "queues": ["q"], "owner": "alice"}, {"owner"}),
        ({"expire_time": {"seconds": 1}}, {"expire_time"}),
        ({"expire_time": {"seconds": 2**63 - 1}}, {"expire_time"}),
    ],
    ids=str,
)
def test_wrong_tokens_are_named(tokens: TokenServiceStub, fields: dict[str, Any], wrong: set[str]) -> None:
    whole: dict[str, Any] = {"name": "wrong", "role": SERVICE_ROLE} | fields
    request = token_api.CreateServiceTokenRequest(**whole)
    error = refused(lambda: tokens.CreateServiceToken(request, metadata=SERVICE))
    assert (error.code(), set(wrong_fields(error))) == (grpc.StatusCode.INVALID_ARGUMENT, wrong)


def test_a_worker_sees_its_queues_and_no_job(
    channel: grpc.Channel, generation: GenerationServiceStub, made: Callable[..., str], tokens: TokenServiceStub
) -> None:
    unknown = token_api.CreateServiceTokenRequest(name="lost", role=WORKER, queues=["no_such_queue"])
    assert refused(lambda: tokens.CreateServiceToken(unknown, metadata=SERVICE)).code() is grpc.StatusCode.NOT_FOUND
    secret = made("outside", WORKER, queues=["video_generation_queue"])
    until(generation, secret, "ROLE_REQUIRED")
    listed = QueueServiceStub(channel).ListQueues(queue_api.ListQueuesRequest(), metadata=bearer(secret)).queues
    assert [queue.name for queue in listed] == ["video_generation_queue"]


def test_on_behalf_of_an_owner_is_that_owners_view(
    generation: GenerationServiceStub, made: Callable[..., str], table: psycopg.Connection
) -> None:
    secret = made("gateway")
    until(generation, secret, "OK")
    for_alice = behalf(secret, "alice")
    job, of_bob, own = create(generation, for_alice), create(generation, BOB), create(generation, bearer(secret))
    select = "select owner, actor from superstoryboard.jobs where id = %s"
    assert [table.execute(select, [each]).fetchone() for each in (job, of_bob, own)] == [
        ("alice", "gateway"),
        ("bob", None),
        ("gateway", None),
    ]
    assert generation.GetJob(api.GetJobRequest(job_id=job), metadata=ALICE).job.id == job
    listed = {each.id for each in generation.ListJobs(LIST, metadata=for_alice).jobs}
    assert job in listed
    assert not listed & {of_bob, own}
    assert {job, of_bob, own} <= {each.id for each in generation.ListJobs(LIST, metadata=bearer(secret)).jobs}
    assert_hidden(generation, of_bob, for_alice)
    assert_hidden(generation, job, behalf(secret, "bob"))
    generation.CancelJob(api.CancelJobRequest(job_id=job), metadata=for_alice)
    events = table.execute(
        "select message from superstoryboard.job_events where job_id = %s order by sequence", [job]
    ).fetchall()
    assert events == [("Accepted from gateway",), ("Cancelled by gateway",)]


def assert_hidden(stub: GenerationServiceStub, job: str, metadata: Metadata) -> None:
    """Each RPC that names a job says of another owner's that there is none."""
    calls: list[Callable[[], Any]] = [
        lambda: stub.GetJob(api.GetJobRequest(job_id=job), metadata=metadata),
        lambda: stub.CancelJob(api.CancelJobRequest(job_id=job), metadata=metadata),
        lambda: stub.RetryJob(api.RetryJobRequest(job_id=job, accept_second_payment=True), metadata=metadata),
        lambda: list(stub.WatchJobs(api.WatchJobsRequest(job_ids=[job]), metadata=metadata)),
    ]
    assert [refused(call).code() for call in calls] == [grpc.StatusCode.NOT_FOUND] * 4


def test_a_request_id_belongs_to_the_owner_who_is_acted_for(
    generation: GenerationServiceStub, made: Callable[..., str]
) -> None:
    secret = made("repeater")
    until(generation, secret, "OK")
    request = api.CreateImageJobRequest(request_id="same-for-all", image=image())
    first = generation.CreateImageJob(request, metadata=behalf(secret, "carol")).job.id
    assert generation.CreateImageJob(request, metadata=behalf(secret, "carol")).job.id == first
    assert generation.CreateImageJob(request, metadata=behalf(secret, "dave")).job.id != first
