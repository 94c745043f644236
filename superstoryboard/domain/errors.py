"""What went wrong with a job, and what happens next (decision 0015)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ErrorClass(StrEnum):
    """Decides the retry: the words are those of the API and the database."""

    RATE_LIMITED = "RATE_LIMITED"
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    CONFIG = "CONFIG"
    TRANSIENT = "TRANSIENT"
    REFUSED = "REFUSED"
    INVALID = "INVALID"
    UNKNOWN_OUTCOME = "UNKNOWN_OUTCOME"
    UNAVAILABLE_DEPENDENCY = "UNAVAILABLE_DEPENDENCY"

    @property
    def final(self) -> bool:
        """True where the same request would fail again, so that the job ends FAILED."""
        return self in {ErrorClass.REFUSED, ErrorClass.INVALID}


@dataclass(frozen=True)
class JobError:
    """Class, stable upper-case code, a sentence without secrets or internal addresses, the provider's codes."""

    error_class: ErrorClass
    code: str
    message: str
    provider_codes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The form that the database keeps in `error` columns."""
        return {
            "class": self.error_class.value,
            "code": self.code,
            "message": _storable(self.message),
            "provider_codes": [_storable(code) for code in self.provider_codes],
        }


def _storable(text: str) -> str:
    """A text without what the database cannot keep: NUL, and halves of characters as JSON may hold them."""
    return text.replace("\0", "?").encode(errors="replace").decode()


class JobFailure(Exception):  # noqa: N818 - the failure of one attempt, not a fault of the program
    """An attempt failed. `retry_after_seconds` is what the other side asked for, if it did."""

    def __init__(self, error: JobError, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{error.error_class}/{error.code}: {error.message}")
        self.error = error
        self.retry_after_seconds = retry_after_seconds


class CallOutcome(StrEnum):
    """What is known of the payment of a provider call that did not give an artifact."""

    UNPAID = "UNPAID"
    PAID = "PAID"
    UNKNOWN = "UNKNOWN"


class ProviderFailure(JobFailure):
    """A provider call failed; `outcome` says whether it was paid for.

    `raw_answer` is what the provider answered where that could not be understood: at most a few KB, without media bytes
    and secrets. It is for the ledger, and never part of the job's own error.
    """

    def __init__(
        self,
        error: JobError,
        outcome: CallOutcome,
        *,
        retry_after_seconds: float | None = None,
        raw_answer: str = "",
    ) -> None:
        super().__init__(error, retry_after_seconds=retry_after_seconds)
        self.outcome = outcome
        self.raw_answer = raw_answer

    def to_json(self) -> dict[str, Any]:
        """The form that the ledger keeps: the error, and the raw answer where there is one."""
        error = self.error.to_json()
        return error | {"raw_answer": _storable(self.raw_answer)} if self.raw_answer else error
