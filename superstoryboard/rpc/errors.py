"""Our errors as gRPC status with details; internals never leak."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "superstoryboard"
RETRY_SECONDS = 1

MAX_VIOLATIONS = 100
SHOWN_VIOLATIONS = 10
MAX_TEXT_BYTES = 400
MAX_MESSAGE_BYTES = 1000
MAX_STATUS_BYTES = 4000
"""Of a status in its details. With the message, and both encoded as text, its trailers stay below 8 KiB: longer ones
are dropped by gRPC, and the caller would read RESOURCE_EXHAUSTED in place of what is wrong."""


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
        """google.rpc.Status with ErrorInfo, RetryInfo where it applies, BadRequest with as many wrong fields as fit."""
        status = status_pb2.Status(code=self.code.value[0], message=_cut(str(self), MAX_MESSAGE_BYTES))
        status.details.append(_pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)))
        if self.retry_after_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.seconds = self.retry_after_seconds
            status.details.append(_pack(retry))
        if self.violations:
            status.details.append(_pack(self._bad_request(MAX_STATUS_BYTES - status.ByteSize())))
        return status

    def _bad_request(self, room_bytes: int) -> error_details_pb2.BadRequest:
        bad = error_details_pb2.BadRequest()
        for field, description in self.violations[:MAX_VIOLATIONS]:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=_cut(field, MAX_TEXT_BYTES), description=_cut(description, MAX_TEXT_BYTES)
            )
            room_bytes -= violation.ByteSize() + 4
            if room_bytes < 0:
                break
            bad.field_violations.append(violation)
        return bad


def invalid(violations: Iterable[tuple[str, str]]) -> ApiError:
    """INVALID_ARGUMENT that names every wrong field and its rule."""
    all_violations = tuple(violations)
    shown = [
        f"{_cut(field, MAX_TEXT_BYTES)}: {description}" for field, description in all_violations[:SHOWN_VIOLATIONS]
    ]
    if len(all_violations) > len(shown):
        shown.append(f"and {len(all_violations) - len(shown)} more")
    message = "; ".join(shown)
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", message, violations=all_violations)


def not_found(what: str) -> ApiError:
    """NOT_FOUND, also for what belongs to someone else."""
    return ApiError(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", f"{what} does not exist")


def unavailable(message: str) -> ApiError:
    """UNAVAILABLE with a delay after which a repeat makes sense."""
    return ApiError(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", message, retry_after_seconds=RETRY_SECONDS)


def _cut(text: str, longest_bytes: int) -> str:
    """A text of at most so many bytes as gRPC sends it: printable ASCII is one byte, anything else three."""
    if len(text) <= longest_bytes // 3:
        return text
    size = 0
    for index, character in enumerate(text):
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode("utf-8", "replace"))
        if size > longest_bytes - 1:
            return text[:index] + "…"
    return text


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
