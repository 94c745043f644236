"""A kind of job that no module knows, and the worker of it, assembled as a process does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from superstoryboard.domain.kinds import KINDS, Kind
from superstoryboard.jobs.queue import ClaimedJob
from superstoryboard.media.verify import verify
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.v1.job_pb2 import JobKind
from superstoryboard.worker.attempt.handoff import Result
from superstoryboard.worker.loop import Limits
from superstoryboard.worker.parts import Parts
from superstoryboard.worker.settings import WorkerSettings
from tests.emulators.storage_fixture import STAGING_KEY

LIMITS = Limits(concurrency=1, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)
OWN_QUEUE = "echo_queue"
JWT_SECRET = "a-jwt-secret-of-at-least-32-bytes"


def message_type(**fields: str) -> type[Message]:
    """What a job of the kind asks for: some texts, by the name that they have in JSON."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/echo.proto", package="tests.echo", syntax="proto3")
    message = file.message_type.add(name="Echo")
    for number, (name, json_name) in enumerate(fields.items(), 1):
        text = message.field.add(name=name, number=number, json_name=json_name)
        text.type = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
        text.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.echo.Echo"))


ECHO = Kind(name="echo", number=cast("JobKind", 4711), queue=OWN_QUEUE, message=message_type(spoken_text="spokenText"))
"""It has no storyboard, scene, character or model."""


def add_kind(sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Kind:
    """The record and the row of a kind like ECHO, and its queue where that is its own."""
    kind = replace(ECHO, **changes)
    monkeypatch.setitem(KINDS, kind.name, kind)
    if kind.queue == OWN_QUEUE:
        sql.execute("select pgmq.create(%s)", (OWN_QUEUE,))
        sql.execute("insert into superstoryboard.queues (name) values (%s)", (OWN_QUEUE,))
    sql.execute(
        "insert into superstoryboard.job_kinds (name, queue, sent_publicly, charged, link, max_results)"
        " values (%s, %s, %s, %s, %s, %s)",
        (kind.name, kind.queue, kind.sent_publicly, kind.charged, kind.link, kind.max_results),
    )
    return kind


@dataclass(frozen=True)
class Place:
    """Where a worker of a test works: its database and Storage, with its buckets."""

    database_url: str
    store: ObjectStore
    url: str


async def open_parts(place: Place, kind: Kind) -> Parts:
    """A worker process of a kind without charge: no model, no gate, no route."""
    settings = {
        "database_url": place.database_url,
        "grpc_listen": "127.0.0.1:0",
        "supabase_url": place.url,
        "supabase_jwt_secret": JWT_SECRET,
        "supabase_staging_key": STAGING_KEY,
    }
    return await Parts.open(WorkerSettings.model_validate(settings), kind)


async def process(parts: Parts, results: list[Path], heard: list[Message]) -> bool:
    """The process works on what is due, and ends; only what the kind makes is of the test."""

    async def generate(job: ClaimedJob) -> str:
        heard.append(await parts.adoption.generation(job, Message))
        return await parts.hand_off.hand_over(job, [Result(file, await verify(file)) for file in results])

    return await parts.run(generate, LIMITS, once=5)
