"""How service tokens end, and what happens where the database is away: real processes of ingest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from superstoryboard.domain.service_tokens import fingerprint, new_token
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1 import token_service_pb2 as token_api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.integration.token_steps import LIST, create, hours, keep, outcome, until
from tests.running import ALICE, OWN_CONNECTION, SERVICE, Service, bearer, running
from tests.waiting import wait_for
from tests.wire import reason, refused

SERVICE_ROLE = token_api.ServiceTokenRole.SERVICE_TOKEN_ROLE_SERVICE_ROLE
WORKER = token_api.ServiceTokenRole.SERVICE_TOKEN_ROLE_WORKER
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def table(module_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("listens", [True, False], ids=["listening", "polling"])
def test_a_revocation_reaches_every_process_and_its_streams(
    module_database_url: str, table: psycopg.Connection, tmp_path: Path, listens: bool
) -> None:
    name = f"watcher-{'a' if listens else 'b'}"
    settings = {"DATABASE_URL": module_database_url, "DATABASE_LISTEN_URL": module_database_url if listens else ""}
    with (
        running("ingest", settings, tmp_path / "log") as service,
        grpc.insecure_channel(service.address, OWN_CONNECTION) as opened,
    ):
        stub = GenerationServiceStub(opened)
        secret = keep(table, name)
        until(stub, secret, "OK")
        job = create(stub, bearer(secret))
        watch = stub.WatchJobs(api.WatchJobsRequest(job_ids=[job]), metadata=bearer(secret), timeout=90)
        assert next(iter(watch)).event.job_id == job
        other = stub.WatchJobs(api.WatchJobsRequest(job_ids=[job]), metadata=SERVICE, timeout=90)
        assert next(iter(other)).event.job_id == job
        table.execute("select superstoryboard.revoke_service_token_v1(%s, 'test')", [name])
        error = refused(lambda: list(watch))
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
        assert outcome(stub, bearer(secret)) == "TOKEN_REVOKED"
        stub.CancelJob(api.CancelJobRequest(job_id=job), metadata=SERVICE)
        assert next(iter(other)).event.job_id == job  # the stream of another token goes on


def test_a_stream_ends_when_its_token_expires(generation: GenerationServiceStub, table: psycopg.Connection) -> None:
    secret = keep(table, "short", expires_at=hours(1))
    until(generation, secret, "OK")
    job = create(generation, bearer(secret))
    watch = generation.WatchJobs(api.WatchJobsRequest(job_ids=[job]), metadata=bearer(secret), timeout=90)
    assert next(iter(watch)).event.job_id == job
    table.execute("update superstoryboard.service_tokens set expires_at = now() where name = 'short'")
    error = refused(lambda: list(watch))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


def test_a_use_is_noted(generation: GenerationServiceStub, table: psycopg.Connection) -> None:
    secret = keep(table, "used")
    table.execute("update superstoryboard.service_tokens set last_used_at = null")
    until(generation, secret, "OK")
    superseded = "select superstoryboard.note_service_tokens_v1(array[%s])"
    table.execute(superseded, [fingerprint(secret)])
    last_use = "select last_used_at from superstoryboard.service_tokens where name = 'used'"
    noted = table.execute(last_use).fetchone()
    assert noted is not None
    assert noted[0] is not None
    table.execute(superseded, [fingerprint(secret)])
    assert table.execute(last_use).fetchone() == noted, "within five minutes nothing is written"


def test_a_process_notes_what_was_used(module_database_url: str, table: psycopg.Connection, tmp_path: Path) -> None:
    secret = keep(table, "written")
    settings = {"DATABASE_URL": module_database_url}
    with (
        running("ingest", settings, tmp_path / "log") as service,
        grpc.insecure_channel(service.address, OWN_CONNECTION) as opened,
    ):
        assert outcome(GenerationServiceStub(opened), bearer(secret)) == "OK"  # read before it listened
        last_use = "select last_used_at from superstoryboard.service_tokens where name = 'written'"
        wait_for(lambda: (table.execute(last_use).fetchone() or [None])[0])


def test_without_a_database_a_process_starts_and_says_so_of_such_tokens_only(tmp_path: Path) -> None:
    known, unknown = new_token(), new_token()
    file = tmp_path / "tokens"
    file.write_text(f"sweep service_role {fingerprint(known)}\n")
    service = Service("ingest", {"DATABASE_URL": NOWHERE, "SERVICE_TOKENS_FILE": str(file)}, tmp_path / "log")
    service.start()
    try:
        service.wait_not_serving()
        with grpc.insecure_channel(service.address, OWN_CONNECTION) as opened:
            stub = GenerationServiceStub(opened)
            error = refused(lambda: stub.ListJobs(LIST, metadata=bearer(unknown)))
            assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "TOKEN_KEYS_UNAVAILABLE")
            bad = api.GetJobRequest(job_id="x")
            for metadata in (ALICE, bearer(known)):  # both are known; the request is read, and is wrong
                assert refused(lambda who=metadata: stub.GetJob(bad, metadata=who)).code() is (  # type: ignore[misc]
                    grpc.StatusCode.INVALID_ARGUMENT
                )
    finally:
        service.stop()


def test_long_ended_tokens_are_swept(channel: grpc.Channel, table: psycopg.Connection) -> None:
    tokens: dict[str, dict[str, Any]] = {
        "live": {},
        "ended": {"revoked_at": hours(-24 * 89)},
        "long-revoked": {"revoked_at": hours(-24 * 91)},
        "long-expired": {"expires_at": hours(-24 * 91), "revoked_at": hours(-1)},
    }
    for name, columns in tokens.items():
        keep(table, name, **columns)
    answer = QueueServiceStub(channel).Sweep(queue_api.SweepRequest(), metadata=SERVICE)
    assert {duty.name: duty.count for duty in answer.duties}["delete_tokens"] == 2
    names = {row[0] for row in table.execute("select name from superstoryboard.service_tokens").fetchall()}
    assert names >= {"live", "ended"}
    assert not names & {"long-revoked", "long-expired"}
