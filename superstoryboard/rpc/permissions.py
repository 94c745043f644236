"""Who may call what, and what is seen: the one table of authorization. docs/reference/permissions.md shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import grpc

from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.tokens import Principal, Role, Sees


class Caller(StrEnum):
    """The columns of the table."""

    NOBODY = "no token"
    ANON = "anon"
    AUTHENTICATED = "authenticated"
    WORKER = "worker"
    SERVICE_ROLE = "service_role"
    ON_BEHALF_OF = "service_role with on_behalf_of"


class Right(StrEnum):
    """What a call may ask for, beyond being made."""

    SECOND_PAYMENT = "accept_second_payment"
    WATCHES_WITHOUT_LIMIT = "watches beyond WATCHES_PER_OWNER"


@dataclass(frozen=True)
class Row:
    """What each caller sees by one RPC. `anon` is a role of the project that no token of a caller may have."""

    nobody: Sees = Sees.REFUSED
    anon: Sees = Sees.REFUSED
    authenticated: Sees = Sees.REFUSED
    worker: Sees = Sees.REFUSED
    service_role: Sees = Sees.REFUSED
    on_behalf_of: Sees = Sees.REFUSED

    def of(self, caller: Caller) -> Sees:
        """The cell of a caller."""
        cell: Sees = getattr(self, caller.name.lower())
        return cell


OPEN = Row(*[Sees.ALL] * 6)
JOBS = Row(authenticated=Sees.OWN, service_role=Sees.ALL, on_behalf_of=Sees.OWN)
OPERATORS = Row(service_role=Sees.ALL)
QUEUES = Row(service_role=Sees.ALL, worker=Sees.OWN_QUEUES)

SERVICES: dict[str, dict[str, Row]] = {
    "superstoryboard.v1.GenerationService": {
        "CreateImageJob": JOBS,
        "CreateVideoJob": JOBS,
        "BatchCreateJobs": JOBS,
        "GetJob": JOBS,
        "ListJobs": JOBS,
        "WatchJobs": JOBS,
        "CancelJob": JOBS,
        "RetryJob": JOBS,
        "GetStoryboard": JOBS,
        "ShareStoryboard": JOBS,
        "UnshareStoryboard": JOBS,
    },
    "superstoryboard.v1.QueueService": {
        "ListQueues": QUEUES,
        "ListDeadLetters": OPERATORS,
        "RedriveDeadLetters": OPERATORS,
        "DiscardDeadLetters": OPERATORS,
        "RecordOperation": OPERATORS,
        "Sweep": OPERATORS,
        "PauseQueue": OPERATORS,
        "ResumeQueue": OPERATORS,
        "TransferStoryboard": OPERATORS,
    },
    "superstoryboard.v1.TokenService": {
        "CreateServiceToken": OPERATORS,
        "ListServiceTokens": OPERATORS,
        "RevokeServiceToken": OPERATORS,
    },
    "superstoryboard.v1.WorkerService": {
        "ProcessQueue": OPERATORS,
        "GetStatus": OPERATORS,
    },
    "grpc.health.v1.Health": {"Check": OPEN, "List": OPEN, "Watch": OPEN},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": OPEN},
}
"""Every RPC of every service. One that is missing is refused to everyone, and a test fails."""

TABLE = {f"/{service}/{name}": row for service, rows in SERVICES.items() for name, row in rows.items()}
RIGHTS = {
    Right.SECOND_PAYMENT: frozenset({Caller.SERVICE_ROLE, Caller.ON_BEHALF_OF}),
    Right.WATCHES_WITHOUT_LIMIT: frozenset({Caller.SERVICE_ROLE}),
}
_REFUSED = Row()


def is_open(method: str) -> bool:
    """Whether a method needs no token."""
    return TABLE.get(method, _REFUSED).nobody is not Sees.REFUSED


def column(principal: Principal) -> Caller:
    """Which caller of the table somebody is."""
    if principal.role is not Role.SERVICE_ROLE:
        return Caller(principal.role.value)
    return Caller.ON_BEHALF_OF if principal.actor else Caller.SERVICE_ROLE


def seen_by(method: str, principal: Principal) -> Sees:
    """What somebody sees by a method.

    Raises:
        ApiError: ROLE_REQUIRED, the method is not for this caller.
    """
    row = TABLE.get(method, _REFUSED)
    cell = row.of(column(principal))
    if cell is Sees.REFUSED:
        message = f"this call needs the role {_needed(row)}"
        if row.service_role is not Sees.REFUSED and principal.actor:
            message = "this call is not made on behalf of an owner; use a token of role service_role for itself"
        raise ApiError(grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", message)
    return cell


def has_right(principal: Principal, right: Right) -> bool:
    """Whether the table gives somebody a right."""
    return column(principal) in RIGHTS[right]


def require(principal: Principal, right: Right) -> None:
    """Refuse a call that asks for what its caller may not have.

    Raises:
        ApiError: ROLE_REQUIRED.
    """
    if not has_right(principal, right):
        message = f"{right} needs the role service_role"
        raise ApiError(grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", message)


def _needed(row: Row) -> str:
    roles = [caller for caller in Caller if row.of(caller) is not Sees.REFUSED and caller is not Caller.ON_BEHALF_OF]
    return " or ".join(roles) or "of no caller"
