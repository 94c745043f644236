"""Every RPC of every service, as a server lists them itself, called by everyone who is in the table and some others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from devstack.stack.ports import free_port
from superstoryboard.config.server import ServerSettings
from superstoryboard.db.database import Database
from superstoryboard.jobs.service_tokens import ServiceTokenTable
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.permissions import TABLE, Caller, is_open
from superstoryboard.rpc.server import Server
from superstoryboard.rpc.tokens import Sees
from superstoryboard.telemetry.metrics import RpcMetrics, new_registry
from superstoryboard.v1 import (
    generation_service_pb2_grpc,
    queue_service_pb2_grpc,
    token_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from tests.integration.token_steps import behalf, hours, keep
from tests.running import ALICE, SECRET, SERVICE, Metadata, bearer, token
from tests.wire import reason

PACKAGE = "superstoryboard.v1."
SERVICES = {
    "GenerationService": generation_service_pb2_grpc,
    "QueueService": queue_service_pb2_grpc,
    "TokenService": token_service_pb2_grpc,
    "WorkerService": worker_service_pb2_grpc,
}


@dataclass(frozen=True)
class Calling:
    """Somebody who calls: the column of the table, or the reason for which every call is refused."""

    metadata: Metadata
    caller: Caller | None = None
    refused: str = ""


@dataclass
class Walk:
    """What a server lists, and what each of its methods answered."""

    channel: grpc.aio.Channel
    methods: dict[str, bool] = field(default_factory=dict)
    """By path: whether the answer is a stream."""

    async def list_methods(self) -> None:
        for service in await self._listed():
            for method, streams in (await self._methods(service)).items():
                self.methods[f"/{service}/{method}"] = streams

    async def answer(self, method: str, metadata: Metadata) -> str:
        """The reason for which an empty request was refused, or the code where there was none."""
        multi = self.channel.unary_stream if self.methods[method] else self.channel.unary_unary
        call: Any = multi(method, bytes, bytes)(b"", metadata=metadata)
        try:
            if self.methods[method]:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return error.code().name if error.code() is grpc.StatusCode.UNIMPLEMENTED else reason(error)
        return "OK"

    async def _listed(self) -> list[str]:
        answer = await self._reflect(reflection_pb2.ServerReflectionRequest(list_services=""))
        return [service.name for service in answer.list_services_response.service]

    async def _methods(self, service: str) -> dict[str, bool]:
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
        answer = await self._reflect(request)
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            for each in file.service:
                if f"{file.package}.{each.name}" == service:
                    return {method.name: method.server_streaming for method in each.method}
        raise AssertionError(f"{service} is listed and not described")

    async def _reflect(self, request: Any) -> Any:
        stub = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        async for answer in stub.ServerReflectionInfo(iter([request])):
            return answer
        raise AssertionError("reflection does not answer")


@pytest.fixture
async def walk(database: Database, database_url: str, callings: dict[str, Calling]) -> AsyncIterator[Walk]:
    """A server with every service, behind the check of processes; no handler does anything."""
    assert callings
    address = f"127.0.0.1:{free_port()}"
    settings = ServerSettings.model_validate(
        {"grpc_listen": address, "database_url": database_url, "supabase_jwt_secret": SECRET}
    )
    registry = new_registry()
    server = Server(address, Authenticator.of(settings, ServiceTokenTable(database), registry), RpcMetrics(registry))
    for name, module in SERVICES.items():
        servicer = getattr(module, f"{name}Servicer")()
        server.add(PACKAGE + name, getattr(module, f"add_{name}Servicer_to_server"), servicer)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        walk = Walk(channel)
        await walk.list_methods()
        yield walk
    await server.stop(0)


@pytest.fixture
def callings(sql: psycopg.Connection) -> dict[str, Calling]:
    backend = keep(sql, "backend")
    outside = keep(sql, "outside", "worker", queues=["image_generation_queue"])
    return {
        "no token": Calling((), Caller.NOBODY, "TOKEN_MISSING"),
        "empty token": Calling((("authorization", "Bearer "),), None, "TOKEN_MISSING"),
        "anon": Calling(bearer(token("a", "anon")), Caller.ANON, "TOKEN_ROLE_REFUSED"),
        "worker by JWT": Calling(bearer(token("a", "worker")), None, "TOKEN_ROLE_REFUSED"),
        "forged": Calling(bearer(token() + "A"), None, "TOKEN_INVALID"),
        "expired JWT": Calling(bearer(token(exp=1)), None, "TOKEN_EXPIRED"),
        "user": Calling(ALICE, Caller.AUTHENTICATED, "ROLE_REQUIRED"),
        "user on behalf": Calling((*ALICE, ("on_behalf_of", "bob")), None, "ON_BEHALF_OF_REFUSED"),
        "service by JWT": Calling(SERVICE, Caller.SERVICE_ROLE, "ROLE_REQUIRED"),
        "service": Calling(bearer(backend), Caller.SERVICE_ROLE, "ROLE_REQUIRED"),
        "service on behalf": Calling(behalf(backend, "alice"), Caller.ON_BEHALF_OF, "ROLE_REQUIRED"),
        "service of an owner": Calling(bearer(keep(sql, "s", owner="alice")), Caller.ON_BEHALF_OF, "ROLE_REQUIRED"),
        "worker": Calling(bearer(outside), Caller.WORKER, "ROLE_REQUIRED"),
        "worker on behalf": Calling(behalf(outside, "alice"), None, "ON_BEHALF_OF_REFUSED"),
        "revoked": Calling(bearer(keep(sql, "r", revoked_at=hours(-1))), None, "TOKEN_REVOKED"),
        "expired": Calling(bearer(keep(sql, "e", expires_at=hours(-1))), None, "TOKEN_EXPIRED"),
        "two tokens": Calling((*ALICE, *bearer(backend)), None, "TOKEN_AMBIGUOUS"),
    }


async def test_a_server_offers_what_the_table_has_and_nothing_else(walk: Walk) -> None:
    assert set(walk.methods) == set(TABLE)


async def test_every_rpc_is_for_those_that_the_table_says(walk: Walk, callings: dict[str, Calling]) -> None:
    outcomes, expected = {}, {}
    for method in (each for each in walk.methods if not is_open(each)):
        for name, calling in callings.items():
            sees = Sees.REFUSED if calling.caller is None else TABLE[method].of(calling.caller)
            expected[method, name] = calling.refused if sees is Sees.REFUSED else "UNIMPLEMENTED"
            outcomes[method, name] = await walk.answer(method, calling.metadata)
    assert len(outcomes) == len(callings) * 25
    assert {key: value for key, value in outcomes.items() if value != expected[key]} == {}
