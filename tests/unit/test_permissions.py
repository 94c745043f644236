"""The table of permissions has every RPC, and says what it should."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import superstoryboard.v1
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.permissions import (
    RIGHTS,
    SERVICES,
    TABLE,
    Caller,
    Right,
    column,
    has_right,
    is_open,
    require,
    seen_by,
)
from superstoryboard.rpc.tokens import Principal, Role, Sees


def services() -> list[ServiceDescriptor]:
    names = [each.name for each in pkgutil.iter_modules(superstoryboard.v1.__path__) if each.name.endswith("_pb2")]
    modules = [importlib.import_module(f"superstoryboard.v1.{name}") for name in names]
    files = [each.DESCRIPTOR for each in (*modules, health_pb2, reflection_pb2)]
    return [service for file in files for service in file.services_by_name.values()]


def test_the_table_has_every_rpc_and_no_other() -> None:
    declared = {service.full_name: {method.name for method in service.methods} for service in services()}
    assert {name: set(rows) for name, rows in SERVICES.items()} == declared


def test_only_health_and_reflection_are_open() -> None:
    assert {method.split("/")[1] for method in TABLE if is_open(method)} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("method", [method for method in TABLE if not is_open(method)])
def test_nobody_and_anon_see_nothing_and_users_never_all(method: str) -> None:
    row = TABLE[method]
    assert (row.of(Caller.NOBODY), row.of(Caller.ANON)) == (Sees.REFUSED, Sees.REFUSED)
    assert row.of(Caller.AUTHENTICATED) in (Sees.REFUSED, Sees.OWN)
    assert row.of(Caller.ON_BEHALF_OF) is row.of(Caller.AUTHENTICATED)
    assert row.of(Caller.WORKER) is not Sees.ALL


SERVICE = Principal("backend", Role.SERVICE_ROLE)
PRINCIPALS = {
    Caller.AUTHENTICATED: Principal("alice", Role.AUTHENTICATED),
    Caller.WORKER: Principal("outside", Role.WORKER),
    Caller.SERVICE_ROLE: SERVICE,
    Caller.ON_BEHALF_OF: Principal("alice", Role.SERVICE_ROLE, actor="backend"),
}


def test_each_caller_has_its_column() -> None:
    assert {column(principal): principal for principal in PRINCIPALS.values()} == PRINCIPALS


def test_a_method_that_the_table_lacks_is_refused_to_everyone() -> None:
    for principal in PRINCIPALS.values():
        with pytest.raises(ApiError, match="of no caller") as caught:
            seen_by("/superstoryboard.v1.GenerationService/Unheard", principal)
        assert caught.value.reason == "ROLE_REQUIRED"
    assert not is_open("/grpc.unheard.Service/Call")


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize("caller", PRINCIPALS)
def test_rights(right: Right, caller: Caller) -> None:
    principal = PRINCIPALS[caller]
    assert has_right(principal, right) is (caller in RIGHTS[right])
    if caller not in RIGHTS[right]:
        with pytest.raises(ApiError, match=right):
            require(principal, right)


def test_what_a_principal_sees_is_its_own_unless_the_table_says_more() -> None:
    assert SERVICE.visible_owner == "backend"
