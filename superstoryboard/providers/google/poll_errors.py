"""What the error of a poll or a download means: nothing of these is paid for, and most are asked again."""

from __future__ import annotations

from collections.abc import Mapping

from superstoryboard.domain.errors import CallOutcome, ErrorClass, ProviderFailure
from superstoryboard.providers.google.error_body import GoogleError, read_google_error
from superstoryboard.providers.google.failures import failure
from superstoryboard.providers.google.status_table import BY_STATUS, classify, wait_of, words_of

_TRANSIENT = ErrorClass.TRANSIENT


def poll_failure(status: int, body: object, headers: Mapping[str, str]) -> ProviderFailure:
    """What an HTTP error of a poll means.

    Outcome UNKNOWN: the operation may still run, poll on. PAID: it is gone (UNKNOWN_OUTCOME / OPERATION_GONE).
    """
    error = read_google_error(body)
    if status == 404 and error is not None:
        return _gone("OPERATION_GONE", "The provider no longer has the operation. The video may be charged", error)
    return _read_failure(status, error, headers, CallOutcome.UNKNOWN)


def download_failure(status: int, body: object, headers: Mapping[str, str]) -> ProviderFailure:
    """What an HTTP error of a download means; the outcome is PAID.

    Try again, unless the video is gone (UNKNOWN_OUTCOME / VIDEO_GONE).
    """
    error = read_google_error(body)
    if error is not None and (status in {404, 410} or (status == 403 and error.says("may not exist"))):
        return _gone("VIDEO_GONE", "The provider no longer has the video. It was charged", error)
    return _read_failure(status, error, headers, CallOutcome.PAID)


def file_failure(status: int, body: object, headers: Mapping[str, str]) -> ProviderFailure:
    """What an HTTP error of the question for a finished file means: as `download_failure`, or ask again (UNKNOWN)."""
    gone = download_failure(status, body, headers)
    return gone if gone.error.code == "VIDEO_GONE" else poll_failure(status, None, headers)


def read_interrupted(error: BaseException, outcome: CallOutcome) -> ProviderFailure:
    """What a connection problem of a poll (outcome UNKNOWN) or a download (PAID) means: try again."""
    text = f"The connection to the provider broke ({type(error).__name__})"
    return failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, outcome)


def _read_failure(
    status: int, error: GoogleError | None, headers: Mapping[str, str], outcome: CallOutcome
) -> ProviderFailure:
    error_class, code, text = classify(status, error, "", "")
    if status == 429:
        error_class, code, text = BY_STATUS[429]
    elif error_class is not ErrorClass.CONFIG or status == 404 or code == "PROVIDER_ACCOUNT_REJECTED":
        # A precondition of a read is a file that is not ready.
        error_class, code, text = _TRANSIENT, "PROVIDER_UNAVAILABLE", f"The provider returned HTTP {status}"
    return failure(error_class, code, text, outcome, words_of(error), wait=wait_of(error_class, error, headers))


def _gone(code: str, text: str, error: GoogleError) -> ProviderFailure:
    return failure(ErrorClass.UNKNOWN_OUTCOME, code, text, CallOutcome.PAID, error.words)
