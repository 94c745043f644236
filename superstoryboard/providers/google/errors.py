"""The table from what a provider's HTTP says to what it means for a job; `results` has what answers of 200 say.

A `ProviderFailure` from a paid call has the outcome UNPAID only where the provider says that nothing was accepted: 4xx,
and 503 with Google's error body. Everything else after sending is UNKNOWN, and keeps what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.providers.answers import kept
from superstoryboard.providers.google.error_body import WORD, GoogleError, parse_seconds, read_google_error
from superstoryboard.providers.wording import categories, presentable, support_codes

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

_BY_STATUS = {
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

# A proxy on the way may say these of a request that the provider has: they count in the provider's own words only.
_PERHAPS_BETWEEN = frozenset({408, 499, 503})

# Words of the Interactions API for what its filters stopped.
BLOCKED = frozenset({"safety", "prohibited_content", "content_blocked", "blocklist", "spii", "recitation"})

# Exceptions of httpx, its fork inside google-genai, and aiohttp, by name: raised before the request was sent.
_BEFORE_SENDING = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
        "InvalidURL",
        "ClientConnectorError",
        "ConnectionTimeoutError",
        "ConnectionRefusedError",
        "SSLCertVerificationError",
        "gaierror",
    }
)
_TRANSPORTS = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "h11", "h2", "anyio"})
POLICY_WORDS = (
    "support codes",
    "responsible ai",
    "usage guidelines",
    "sensitive words",
    "safety filter",
    "safety guideline",
    "safety polic",
)


def submit_failure(
    status: int, body: object, headers: Mapping[str, str], *, retired: str = "", secret: str = "", raw: object = None
) -> ProviderFailure:
    """What an HTTP error of a paid call means; `body` is the decoded JSON or anything else, `raw` what came.

    `retired` is the sentence for the service's own 404 about a model, `secret` must not appear in any message.
    """
    error = read_google_error(body)
    settled = error is not None if status in _PERHAPS_BETWEEN else 400 <= status < 500
    if not settled:
        came = kept(body if raw is None else raw, secret=secret)
        text = f"The provider returned HTTP {status}. The request may have been accepted and charged"
        return failure(ErrorClass.UNKNOWN_OUTCOME, "PROVIDER_ERROR", text, CallOutcome.UNKNOWN, _words(error), raw=came)
    if status == 400 and error is not None and error.says(*POLICY_WORDS):
        return refusal("SAFETY", "The provider refused this request", error.message, error.words, secret)
    error_class, code, text = _classify(status, error, retired, secret)
    wait = _wait(error_class, error, headers)
    return failure(error_class, code, text, CallOutcome.UNPAID, _words(error), wait=wait)


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


def no_access(text: str, *, lasting: bool, outcome: CallOutcome) -> ProviderFailure:
    """No credentials for a call that was therefore not sent; `lasting` where somebody must change them."""
    if lasting:
        return failure(ErrorClass.CONFIG, "PROVIDER_ACCESS_DENIED", text, outcome)
    return failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, outcome)


def submit_interrupted(error: BaseException) -> ProviderFailure:
    """What a connection problem of a paid call means: settled where nothing was sent, else unknown."""
    name = type(error).__name__
    if sent_nothing(error):
        text = f"The provider could not be reached ({name})"
        return failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, CallOutcome.UNPAID)
    text = f"The connection broke after the request was sent ({name}). The request may have been accepted and charged"
    return failure(ErrorClass.UNKNOWN_OUTCOME, "NO_RESPONSE", text, CallOutcome.UNKNOWN)


def read_interrupted(error: BaseException, outcome: CallOutcome) -> ProviderFailure:
    """What a connection problem of a poll (outcome UNKNOWN) or a download (PAID) means: try again."""
    text = f"The connection to the provider broke ({type(error).__name__})"
    return failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, outcome)


def is_transport_error(error: BaseException) -> bool:
    """True for time-outs and connection problems of any HTTP library that may be underneath."""
    families = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return isinstance(error, OSError) or not families.isdisjoint(_TRANSPORTS)


def sent_nothing(error: BaseException) -> bool:
    """True where no byte of the request can have reached the provider."""
    return not _BEFORE_SENDING.isdisjoint(base.__name__ for base in type(error).__mro__)


def unreadable_answer(answer: object = "", *, secret: str = "") -> ProviderFailure:
    """An answer of 200 to a paid call that cannot be understood; `answer` is what came."""
    text = "The provider's response could not be read. The request may have been accepted and charged"
    raw = kept(answer, secret=secret)
    return failure(ErrorClass.UNKNOWN_OUTCOME, "UNREADABLE_RESPONSE", text, CallOutcome.UNKNOWN, raw=raw)


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


def _classify(status: int, error: GoogleError | None, retired: str, secret: str) -> tuple[ErrorClass, str, str]:
    if error is not None:
        if special := _special(status, error):
            return special
        if status == 404:
            return _INVALID, "MODEL_RETIRED", retired or "The model is not available"
    error_class, code, text = _BY_STATUS.get(status, _BY_STATUS[400])
    if error is not None and error_class is _INVALID:
        text = with_detail(text, error.message, secret)
    return error_class, code, text


def _special(status: int, error: GoogleError) -> tuple[ErrorClass, str, str] | None:
    if status == 400 and ("API_KEY_INVALID" in error.reasons or error.says("api key not valid", "api key expired")):
        return _BY_STATUS[401]
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


def _wait(error_class: ErrorClass, error: GoogleError | None, headers: Mapping[str, str]) -> float | None:
    if error_class is ErrorClass.QUOTA_EXHAUSTED:
        return seconds_until_quota_reset()  # RetryInfo is present too, and misleading
    asked = error.retry_seconds if error is not None else None
    if asked is None:
        asked = parse_seconds(headers.get("retry-after"))
    return DEFAULT_WAIT_SECONDS if asked is None and error_class is ErrorClass.RATE_LIMITED else asked


def _read_failure(
    status: int, error: GoogleError | None, headers: Mapping[str, str], outcome: CallOutcome
) -> ProviderFailure:
    error_class, code, text = _classify(status, error, "", "")
    if status == 429:
        error_class, code, text = _BY_STATUS[429]
    elif error_class is not ErrorClass.CONFIG or status == 404 or code == "PROVIDER_ACCOUNT_REJECTED":
        # A precondition of a read is a file that is not ready.
        error_class, code, text = _TRANSIENT, "PROVIDER_UNAVAILABLE", f"The provider returned HTTP {status}"
    return failure(error_class, code, text, outcome, _words(error), wait=_wait(error_class, error, headers))


def _gone(code: str, text: str, error: GoogleError) -> ProviderFailure:
    return failure(ErrorClass.UNKNOWN_OUTCOME, code, text, CallOutcome.PAID, error.words)


def refusal(code: str, sentence: str, message: str, reasons: tuple[str, ...], secret: str) -> ProviderFailure:
    """The provider refused for what was asked or made: unpaid, and never repeated."""
    codes = support_codes(message)
    about = f"; category: {categories(codes)}" if codes else ""
    text = with_detail(sentence + about, message, secret)
    return failure(_REFUSED, code, text, CallOutcome.UNPAID, (*reasons, *codes))


def with_detail(sentence: str, detail: str, secret: str) -> str:
    """The sentence with what the provider says, as it may be shown."""
    shown = presentable(detail, secret=secret)
    return f"{sentence}: {shown}" if shown else sentence


def _words(error: GoogleError | None) -> tuple[str, ...]:
    return error.words if error is not None else ()


def failure(
    error_class: ErrorClass,
    code: str,
    sentence: str,
    outcome: CallOutcome,
    provider_codes: tuple[str, ...] = (),
    *,
    wait: float | None = None,
    raw: str = "",
) -> ProviderFailure:
    """A failure; of the provider's codes those are kept that are plain words."""
    words = tuple(word for word in provider_codes if WORD.fullmatch(word))
    return ProviderFailure(
        JobError(error_class, code, sentence, words), outcome, retry_after_seconds=wait, raw_answer=raw
    )
