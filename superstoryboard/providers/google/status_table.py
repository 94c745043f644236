"""The table from a status of HTTP and Google's words to the class, the code and the sentence of an error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from superstoryboard.domain.errors import ErrorClass
from superstoryboard.providers.google.error_body import GoogleError
from superstoryboard.providers.google.failures import BLOCKED, with_detail
from superstoryboard.providers.retry_after import parse_seconds

DEFAULT_WAIT_SECONDS = 30.0

_REFUSED, _INVALID, _TRANSIENT = ErrorClass.REFUSED, ErrorClass.INVALID, ErrorClass.TRANSIENT

_BAD_KEY = (
    "The API key was rejected. Check GOOGLE_GENERATIVE_AI_API_KEY, or for Vertex AI GOOGLE_VERTEX_API_KEY or the Google"
    " credentials"
)
_NO_ACCESS = (
    "The provider denied access. Check that the API is enabled for the key's project, and the key's restrictions"
)
_BAD_ADDRESS = "The provider's address returned HTTP 404. Check GOOGLE_GEMINI_BASE_URL and GOOGLE_API_VERSION"

BY_STATUS = {
    400: (_INVALID, "PROVIDER_INVALID_ARGUMENT", "The provider rejected the request"),
    401: (ErrorClass.CONFIG, "PROVIDER_ACCESS_DENIED", _BAD_KEY),
    403: (ErrorClass.CONFIG, "PROVIDER_ACCESS_DENIED", _NO_ACCESS),
    404: (ErrorClass.CONFIG, "PROVIDER_NOT_FOUND", _BAD_ADDRESS),
    408: (_TRANSIENT, "PROVIDER_TIMEOUT", "The provider did not receive the request in time"),
    409: (_TRANSIENT, "PROVIDER_ABORTED", "The provider cancelled the request"),
    413: (_INVALID, "PROVIDER_REQUEST_TOO_LARGE", "The request is too large for the provider"),
    429: (ErrorClass.RATE_LIMITED, "RATE_LIMITED", "The provider's rate limit was reached"),
    499: (_TRANSIENT, "PROVIDER_ABORTED", "The provider cancelled the request"),
    503: (_TRANSIENT, "PROVIDER_UNAVAILABLE", "The provider is not available"),
}


def classify(status: int, error: GoogleError | None, retired: str, secret: str) -> tuple[ErrorClass, str, str]:
    if error is not None:
        if special := _special(status, error):
            return special
        if status == 404:
            return _INVALID, "MODEL_RETIRED", retired or "The model is not available"
    error_class, code, text = BY_STATUS.get(status, BY_STATUS[400])
    if error is not None and error_class is _INVALID:
        text = with_detail(text, error.message, secret)
    return error_class, code, text


def wait_of(error_class: ErrorClass, error: GoogleError | None, headers: Mapping[str, str]) -> float | None:
    if error_class is ErrorClass.QUOTA_EXHAUSTED:
        return seconds_until_quota_reset()  # RetryInfo is present too, and misleading
    asked = error.retry_seconds if error is not None else None
    if asked is None:
        asked = parse_seconds(headers.get("retry-after"))
    return DEFAULT_WAIT_SECONDS if asked is None and error_class is ErrorClass.RATE_LIMITED else asked


def words_of(error: GoogleError | None) -> tuple[str, ...]:
    return error.words if error is not None else ()


def seconds_until_quota_reset(now: datetime | None = None) -> float:
    """Seconds until midnight in California, when Google's daily quotas start anew."""
    pacific: tzinfo
    try:
        pacific = ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:  # an image without time zone data: at most an hour late
        pacific = timezone(timedelta(hours=-8))
    local = (now or datetime.now(UTC)).astimezone(pacific)
    midnight = datetime.combine(local.date() + timedelta(days=1), datetime.min.time(), pacific)
    return (midnight.astimezone(UTC) - local.astimezone(UTC)).total_seconds()


def _special(status: int, error: GoogleError) -> tuple[ErrorClass, str, str] | None:
    if status == 400 and ("API_KEY_INVALID" in error.reasons or error.says("api key not valid", "api key expired")):
        return BY_STATUS[401]
    if status == 400 and error.status.lower() in BLOCKED:
        return _REFUSED, "PROMPT_BLOCKED", "The provider blocked the prompt"
    if status == 400 and error.status.upper() == "FAILED_PRECONDITION":
        text = "The provider rejected the account of the API key. Check its billing and region"
        return ErrorClass.CONFIG, "PROVIDER_ACCOUNT_REJECTED", text
    if status in {429, 503} and ("MODEL_CAPACITY_EXHAUSTED" in error.reasons or error.says("overloaded")):
        return ErrorClass.RATE_LIMITED, "CAPACITY_EXHAUSTED", "The model is overloaded at the provider"
    return _quota(error) if status == 429 else None


def _reset_time() -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=seconds_until_quota_reset()):%H:%M} UTC"


def _quota(error: GoogleError) -> tuple[ErrorClass, str, str] | None:
    """What kind of quota is used up; None for that of a minute."""
    if error.no_quota:
        return ErrorClass.CONFIG, "PROVIDER_NO_QUOTA", "The account of the API key has no quota for this model"
    if error.status == "quota_exceeded" or any("PerDay" in quota_id for quota_id in error.quota_ids):
        return (
            ErrorClass.QUOTA_EXHAUSTED,
            "DAILY_QUOTA_EXHAUSTED",
            f"The daily quota is exhausted; it resets at {_reset_time()}",
        )
    return None
