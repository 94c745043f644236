"""Service tokens in a database of tests: made, ended, and sent."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import psycopg

from superstoryboard.domain.service_tokens import fingerprint, new_token
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.integration.ingest_calls import image
from tests.running import Metadata, bearer
from tests.waiting import wait_for
from tests.wire import reason

LIST = api.ListJobsRequest()
INSERT = """
insert into superstoryboard.service_tokens (sha256, name, role, owner, queues, created_by, expires_at, revoked_at)
values (%s, %s, %s, %s, %s, 'test', %s, %s)
"""


def hours(number: float) -> datetime:
    """So many hours from now."""
    return datetime.now(UTC) + timedelta(hours=number)


def keep(sql: psycopg.Connection, name: str, role: str = "service_role", **columns: Any) -> str:
    """A new token that the database keeps."""
    secret = new_token()
    rest = [columns.get(column) for column in ("expires_at", "revoked_at")]
    sql.execute(INSERT, [fingerprint(secret), name, role, columns.get("owner"), columns.get("queues", []), *rest])
    return secret


def behalf(secret: str, owner: str) -> Metadata:
    """A call with a token on behalf of an owner."""
    return (*bearer(secret), ("on_behalf_of", owner))


def outcome(stub: GenerationServiceStub, metadata: Metadata) -> str:
    """OK, or the reason why the jobs are not listed."""
    try:
        stub.ListJobs(LIST, metadata=metadata)
    except grpc.RpcError as error:
        return reason(error)
    return "OK"


def until(stub: GenerationServiceStub, secret: str, result: str) -> None:
    wait_for(lambda: outcome(stub, bearer(secret)), lambda reason: reason == result, what=result)


def create(stub: GenerationServiceStub, metadata: Metadata) -> str:
    request = api.CreateImageJobRequest(request_id=str(uuid.uuid4()), image=image())
    return stub.CreateImageJob(request, metadata=metadata).job.id
