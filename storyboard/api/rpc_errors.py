"""Turns the errors of the services into sentences, line by line, and exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import Endpoint
from storyboard.api.tls import connection_problem

D = TypeVar("D", bound=Message)
UNREACHABLE_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
HINTS = {
    code_pb2.UNAUTHENTICATED: "Set STORYBOARD_TOKEN to a valid token.",
    code_pb2.PERMISSION_DENIED: "The role of STORYBOARD_TOKEN does not allow this.",
    code_pb2.UNIMPLEMENTED: "Install the version of this program that the service has.",
}

REASON_HINTS = {
    "TOKEN_EXPIRED": "STORYBOARD_TOKEN has expired. Set it to a new token.",
    "TOKEN_NOT_YET_VALID": "Compare the clocks of this machine and the service, or create a new token.",
    "TOKEN_KEY_UNKNOWN": "Sign in again to the service's project. After a rotation of its keys, repeat in 30 s.",
    "TOKEN_KEYS_UNAVAILABLE": "Check SUPABASE_URL of the service (users' tokens) and DATABASE_URL (service tokens).",
    "TOKEN_ISSUER_REFUSED": "Use a token of the service's project, or set JWT_ISSUERS of the service.",
    "TOKEN_AUDIENCE_REFUSED": "Use the access token of a user's session; its aud is authenticated.",
    "TOKEN_ROLE_REFUSED": "Use the access token of a user's session, or a token of role service_role.",
    "TOKEN_API_KEY": "Set STORYBOARD_TOKEN to a user's access token or to a service token, not to an API key.",
    "TOKEN_REVOKED": "Create a new one with `storyboard token create`, and set STORYBOARD_TOKEN to it.",
    "TOKEN_UNKNOWN": "Was it created for this installation? `storyboard token list` shows its tokens.",
    "TOKEN_NAME_IN_USE": "`storyboard token list` shows it; `storyboard token revoke NAME` ends it.",
    "TOO_MANY_TOKENS": "End those that are not used: `storyboard token list`, `storyboard token revoke NAME`.",
    "ON_BEHALF_OF_REFUSED": "Use a service token of role service_role that was created without --owner.",
    "ROLE_REQUIRED": "The role of STORYBOARD_TOKEN does not allow this; `storyboard token create` makes one that does.",
    "NOT_YOURS": "Ask its owner to run `storyboard share STORYBOARD USER`, with --editor where you write.",
    "NO_OWNER": "Give it one with `storyboard transfer STORYBOARD USER`.",
    "OWNER_IN_KV": "Change the owner in the row `storyboard:ID` of the key-value table.",
    "MEMBER_LIMIT": "Remove a member with `storyboard unshare`.",
    "ANONYMOUS_REFUSED": "Sign in with an account, or set ALLOW_ANONYMOUS_USERS=true for the service.",
    "QUOTA_EXCEEDED": "`storyboard jobs` lists your open jobs. An operator can raise your quota (docs/QUOTAS.md).",
    "TOO_MANY_CALLS": "Stop other commands of this token or address, such as `storyboard watch`.",
    "REQUEST_TOO_LARGE": "Send less in one request.",
    "METADATA_TOO_LARGE": "Send less metadata: a token of at most a few kilobytes, and no headers of a proxy.",
    "REQUEST_ID_REUSED": "Choose another --request-id, or send the request that it was first used for.",
    "NOT_FOUND": "Check the id. What STORYBOARD_TOKEN may not read does not exist for it.",
    "JOB_STATE": "`storyboard job JOB` shows its state.",
    "JOB_OPERATION_RUNNING": "Run `storyboard dead-letters redrive JOB` without --prompt.",
    "SECOND_PAYMENT": "If it may be charged again, repeat with --accept-second-payment (role service_role).",
    "NO_OPEN_CALL": "`storyboard job JOB` shows its state; `storyboard retry JOB` starts it again if it has failed.",
    "OPERATION_NAME_IN_USE": "Compare the name with `Operation accepted` of this job in the worker's log.",
    "EVENTS_PRUNED": "`storyboard jobs` shows the jobs; watch them with --after 0.",
    "WORKER_BUSY": "Repeat it later, or with a longer --timeout.",
    "WORKER_DRAINING": "Repeat it when the worker has restarted.",
    "CALL_TIMEOUT": "It may have had its effect: look with `storyboard jobs` before you repeat it.",
    "UNAVAILABLE": "Repeat it later; `storyboard doctor` checks what the service needs.",
    "INTERNAL": "Look into the log of the service.",
}
"""What to do, where the reason says more than the code."""


@contextmanager
def spoken_errors(endpoint: Endpoint) -> Iterator[None]:
    """Turn a failed call inside the block into a CommandError.

    Raises:
        CommandError: the call failed; UNREACHABLE, USAGE or FAILED by its code.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise command_error(error, endpoint) from error


def command_error(error: grpc.RpcError, endpoint: Endpoint) -> CommandError:
    """What to tell about a failed call."""
    status = status_of(error)
    if error.code() in UNREACHABLE_CODES:
        return CommandError(ExitCode.UNREACHABLE, [_unreachable(error, status, endpoint), *advice(status)])
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return CommandError(ExitCode.USAGE, status_lines(status))
    return CommandError(ExitCode.FAILED, [*status_lines(status), *advice(status)])


def advice(status: status_pb2.Status) -> list[str]:
    """What to do next, on one line; empty where the message alone says it."""
    hint = REASON_HINTS.get(_reason(status)) or HINTS.get(status.code)
    return [hint] if hint else []


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """The status with its details; without them where the service sent none or they cannot be read."""
    with suppress(ValueError, DecodeError):
        # Every error of a call is the call itself, which the types do not say.
        status: status_pb2.Status | None = rpc_status.from_call(cast("grpc.Call", error))
        if status is not None:
            return status
    return status_pb2.Status(code=error.code().value[0], message=error.details() or error.code().name)


def status_lines(status: status_pb2.Status) -> list[str]:
    """Each field violation on a line of its own, `field: rule`; else the message with its reason."""
    violations = [f"{field}: {rule}" for field, rule in violations_of(status)]
    if violations:
        return violations
    reason = _reason(status)
    message = f"{status.message} ({reason})" if reason else status.message
    delays = [info.retry_delay.ToTimedelta() for info in _details(status, error_details_pb2.RetryInfo)]
    return [message, *(f"Try again in {delay.total_seconds():g} s." for delay in delays)]


def _reason(status: status_pb2.Status) -> str:
    return next((info.reason for info in _details(status, error_details_pb2.ErrorInfo) if info.reason), "")


def violations_of(status: status_pb2.Status) -> list[tuple[str, str]]:
    """Field and rule of every violation."""
    bad_requests = _details(status, error_details_pb2.BadRequest)
    return [(item.field, item.description) for details in bad_requests for item in details.field_violations]


def _details(status: status_pb2.Status, kind: type[D]) -> list[D]:
    details = []
    for packed in status.details:
        message = kind()
        if packed.Is(kind.DESCRIPTOR) and packed.Unpack(message):
            details.append(message)
    return details


def _unreachable(error: grpc.RpcError, status: status_pb2.Status, endpoint: Endpoint) -> str:
    name = f"The {endpoint.service} at {endpoint.address}"
    if status.details:
        return f"{name} is running but not ready: {status.message}"
    if error.code() is grpc.StatusCode.UNAVAILABLE and (problem := connection_problem(endpoint)):
        return f"{name} {problem}"
    problem = "did not respond in time" if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else "is not reachable"
    return f"{name} {problem}. Start it with `storyboard up`, or set {endpoint.setting} to where it runs."
