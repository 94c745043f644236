"""Service tokens between the API and the table: what may be asked for, a new token, and rows as messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from superstoryboard.domain.service_tokens import RESERVED_OWNERS, ServiceToken, fingerprint, new_token, owner_problem
from superstoryboard.v1 import token_service_pb2 as api

ROLES = {
    api.ServiceTokenRole.SERVICE_TOKEN_ROLE_SERVICE_ROLE: "service_role",
    api.ServiceTokenRole.SERVICE_TOKEN_ROLE_WORKER: "worker",
}
NUMBERS = {name: number for number, name in ROLES.items()}
TIMES = {
    "create_time": "created_at",
    "expire_time": "expires_at",
    "last_use_time": "last_used_at",
    "revoke_time": "revoked_at",
}


def token_problems(request: api.CreateServiceTokenRequest) -> list[tuple[str, str]]:
    """Field and rule of everything that is wrong with a request and that the proto does not say."""
    is_worker = request.role == api.ServiceTokenRole.SERVICE_TOKEN_ROLE_WORKER
    wrong = []
    if request.name in RESERVED_OWNERS:
        wrong.append(("name", "is a reserved name"))
    if request.owner and is_worker:
        wrong.append(("owner", "is only for role service_role"))
    elif request.owner and (problem := owner_problem(request.owner)):
        wrong.append(("owner", problem))
    if is_worker != bool(request.queues):
        wrong.append(("queues", "are required for role worker" if is_worker else "are only for role worker"))
    if request.HasField("expire_time") and request.expire_time.seconds <= datetime.now(UTC).timestamp():
        wrong.append(("expire_time", "must be in the future"))
    return wrong


def made_token(request: api.CreateServiceTokenRequest) -> tuple[str, ServiceToken]:
    """A new token as it was asked for, and what is kept of it."""
    secret = new_token()
    kept = ServiceToken(
        fingerprint(secret),
        request.name,
        ROLES[request.role],
        request.owner or None,
        tuple(dict.fromkeys(request.queues)),
        request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None,
    )
    return secret, kept


def newest_message(rows: list[dict[str, Any]], name: str) -> api.ServiceToken:
    """The youngest token of this name, of rows that are all that is kept."""
    return token_message(max((row for row in rows if row["name"] == name), key=lambda row: row["created_at"]))


def token_message(row: dict[str, Any]) -> api.ServiceToken:
    """A row of the table as it is listed."""
    token = api.ServiceToken(
        role=NUMBERS[row["role"]],
        **{name: row[name] for name in ("name", "owner", "queues", "created_by", "revoked_by")},
    )
    for field, column in TIMES.items():
        if row[column] is not None:
            getattr(token, field).FromDatetime(row[column])
    return token
