"""Google's JSON error body, read without trusting its shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from superstoryboard.providers.retry_after import parse_seconds

WORD = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_NO_QUOTA = re.compile(r"\blimit: 0(?![\d.])")


@dataclass(frozen=True, kw_only=True)
class GoogleError:
    """What the body says. `reasons` come from ErrorInfo, `quota_ids` from QuotaFailure, the delay from RetryInfo."""

    status: str
    message: str
    reasons: frozenset[str] = frozenset()
    quota_ids: tuple[str, ...] = ()
    no_quota: bool = False
    retry_seconds: float | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The machine-readable words of the error, for `JobError.provider_codes`."""
        words = (self.status, *sorted(self.reasons), *self.quota_ids)
        return tuple(dict.fromkeys(word for word in words if WORD.fullmatch(word)))

    def says(self, *texts: str) -> bool:
        """True where the message contains one of the texts, whatever their case."""
        message = self.message.lower()
        return any(text.lower() in message for text in texts)


def read_google_error(body: object) -> GoogleError | None:
    """The error of a decoded body `{"error": {…}}`; None where it is not Google's."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
        return None
    message: str = error["message"]
    details = list(_mappings(error.get("details")))
    violations = [each for detail in details for each in _mappings(detail.get("violations"))]
    return GoogleError(
        # The Interactions API has a word for its code and no status.
        status=_text(error.get("status")) or _text(error.get("code")),
        message=message,
        reasons=frozenset(_text(detail["reason"]) for detail in details if "reason" in detail),
        quota_ids=tuple(_text(violation["quotaId"]) for violation in violations if "quotaId" in violation),
        no_quota=_NO_QUOTA.search(message) is not None
        or any(str(violation.get("quotaValue")) == "0" for violation in violations),
        retry_seconds=_retry_seconds(details),
    )


def _retry_seconds(details: list[Mapping[str, Any]]) -> float | None:
    for detail in details:
        if _text(detail.get("@type")).endswith("google.rpc.RetryInfo"):
            return parse_seconds(detail.get("retryDelay"))
    return None


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    return (each for each in value if isinstance(each, Mapping)) if isinstance(value, list) else iter(())


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
