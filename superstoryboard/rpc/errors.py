"""Our errors as gRPC status with details; internals never leak."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "superstoryboard"
RETRY_SECONDS = 1


class ApiError(Exception):
    """An answer to the caller that is not a result: canonical code, stable reason, sentence, wrong fields."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        violations: Iterable[tuple[str, str]] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds

    def to_status(self) -> status_pb2.Status:
        """google.rpc.Status with ErrorInfo, BadRequest where fields are wrong, RetryInfo where it applies."""
        status = status_pb2.Status(code=self.code.value[0], message=str(self))
        status.details.append(_pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)))
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for field, description in self.violations:
                bad.field_violations.add(field=field, description=description)
            status.details.append(_pack(bad))
        if self.retry_after_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.seconds = self.retry_after_seconds
            status.details.append(_pack(retry))
        return status


def invalid(violations: Iterable[tuple[str, str]]) -> ApiError:
    """INVALID_ARGUMENT that names every wrong field and its rule."""
    found = tuple(violations)
    message = "; ".join(f"{field}: {description}" for field, description in found[:20])
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", message, violations=found)


def not_found(what: str) -> ApiError:
    """NOT_FOUND, also for what belongs to someone else."""
    return ApiError(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", f"{what} does not exist")


def unavailable(message: str) -> ApiError:
    """UNAVAILABLE with a delay after which a repeat makes sense."""
    return ApiError(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", message, retry_after_seconds=RETRY_SECONDS)


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
