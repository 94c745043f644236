"""The one table from what a provider answers to what it means for a job.

Three levels: HTTP status and error body, the result inside an answer of 200, and how a long-running operation ended.
A `ProviderFailure` from a paid call has the outcome UNPAID where DESIGN section 5 calls it settled, else UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from superstoryboard.jobs.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.providers.google_error import GoogleError, parse_seconds, read_google_error
from superstoryboard.providers.wording import categories, presentable, support_codes

DEFAULT_WAIT_SECONDS = 30.0

_REFUSED, _INVALID, _TRANSIENT = ErrorClass.REFUSED, ErrorClass.INVALID, ErrorClass.TRANSIENT

_BY_STATUS = {
    400: (_INVALID, "PROVIDER_INVALID_ARGUMENT", "the provider refuses the request"),
    401: (ErrorClass.CONFIG, "PROVIDER_ACCESS_DENIED", "the provider refuses the API key of this installation"),
    403: (ErrorClass.CONFIG, "PROVIDER_ACCESS_DENIED", "the provider denies this installation access"),
    404: (ErrorClass.CONFIG, "PROVIDER_NOT_FOUND", "the provider's address of this installation answers 404"),
    408: (_TRANSIENT, "PROVIDER_TIMEOUT", "the provider did not receive the request in time"),
    409: (_TRANSIENT, "PROVIDER_ABORTED", "the provider gave the request up"),
    413: (_INVALID, "PROVIDER_REQUEST_TOO_LARGE", "the request is too large for the provider"),
    429: (ErrorClass.RATE_LIMITED, "RATE_LIMITED", "the provider asks to slow down"),
    499: (_TRANSIENT, "PROVIDER_ABORTED", "the provider gave the request up"),
    503: (_TRANSIENT, "PROVIDER_UNAVAILABLE", "the provider is not available"),
}

# Results of an image call, all HTTP 200. What is not here and brought no picture is TRANSIENT: attempts bound it.
_BY_FINISH_REASON = dict.fromkeys(
    (
        "SAFETY",
        "IMAGE_SAFETY",
        "PROHIBITED_CONTENT",
        "IMAGE_PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    ),
    _REFUSED,
) | {"LANGUAGE": _INVALID}

# google.rpc codes of an ended operation, which are not HTTP codes. Others are TRANSIENT.
_BY_RPC_CODE = {
    3: (_INVALID, "PROVIDER_INVALID_ARGUMENT"),
    5: (_INVALID, "PROVIDER_NOT_FOUND"),
    7: (_INVALID, "PROVIDER_PERMISSION_DENIED"),
    9: (_INVALID, "PROVIDER_FAILED_PRECONDITION"),
}

# Their names, in which the codes of an interaction's errors end, and its own words; any other is 2, unknown.
_RPC_CODES = {
    "INVALID_ARGUMENT": 3,
    "INVALID_REQUEST": 3,
    "PARAMETER_UNKNOWN": 3,
    "NOT_FOUND": 5,
    "MODEL_NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "FAILED_PRECONDITION": 9,
}

# Words of the Interactions API for what its filters stopped.
_BLOCKED = frozenset({"safety", "prohibited_content", "content_blocked", "blocklist", "spii", "recitation"})

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
_POLICY_WORDS = (
    "support codes",
    "responsible ai",
    "usage guidelines",
    "sensitive words",
    "safety filter",
    "safety guideline",
    "safety polic",
)


def submit_failure(
    status: int, body: object, headers: Mapping[str, str], *, retired: str = "", secret: str = ""
) -> ProviderFailure:
    """What an HTTP error of a paid call means; `body` is the decoded JSON or anything else that came.

    `retired` is the sentence for the service's own 404 about a model, `secret` must not appear in any message.
    """
    error = read_google_error(body)
    settled = 400 <= status < 500 or (status == 503 and error is not None)
    if not settled:
        text = f"the provider answered {status}; whether the request counts is not known"
        return _failure(ErrorClass.UNKNOWN_OUTCOME, "PROVIDER_ERROR", text, CallOutcome.UNKNOWN, _words(error))
    if status == 400 and error is not None and error.says(*_POLICY_WORDS):
        return _refusal("SAFETY", "the provider refuses this request", error.message, error.words, secret)
    error_class, code, text = _classify(status, error, retired, secret)
    wait = _wait(error_class, error, headers)
    return _failure(error_class, code, text, CallOutcome.UNPAID, _words(error), wait=wait)


def poll_failure(status: int, body: object, headers: Mapping[str, str]) -> ProviderFailure:
    """What an HTTP error of a poll means.

    Outcome UNKNOWN: the operation may still run, poll on. PAID: it is gone (UNKNOWN_OUTCOME / OPERATION_GONE).
    """
    error = read_google_error(body)
    if status == 404 and error is not None:
        return _gone("OPERATION_GONE", "the provider no longer knows the operation", error)
    return _read_failure(status, error, headers, CallOutcome.UNKNOWN)


def download_failure(status: int, body: object, headers: Mapping[str, str]) -> ProviderFailure:
    """What an HTTP error of a download means; the outcome is PAID.

    Try again, unless the video is gone (UNKNOWN_OUTCOME / VIDEO_GONE).
    """
    error = read_google_error(body)
    if error is not None and (status in {404, 410} or (status == 403 and error.says("may not exist"))):
        return _gone("VIDEO_GONE", "the provider no longer keeps the video", error)
    return _read_failure(status, error, headers, CallOutcome.PAID)


def file_failure(status: int, body: object, headers: Mapping[str, str]) -> ProviderFailure:
    """What an HTTP error of the question for a finished file means: as `download_failure`, or ask again (UNKNOWN)."""
    failure = download_failure(status, body, headers)
    return failure if failure.error.code == "VIDEO_GONE" else poll_failure(status, None, headers)


def no_access(text: str, *, lasting: bool, outcome: CallOutcome) -> ProviderFailure:
    """No credentials for a call that was therefore not sent; `lasting` where somebody must change them."""
    if lasting:
        return _failure(ErrorClass.CONFIG, "PROVIDER_ACCESS_DENIED", text, outcome)
    return _failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, outcome)


def submit_interrupted(error: BaseException) -> ProviderFailure:
    """What a connection problem of a paid call means: settled where nothing was sent, else unknown."""
    name = type(error).__name__
    if sent_nothing(error):
        text = f"the provider was not reached ({name})"
        return _failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, CallOutcome.UNPAID)
    text = f"the connection broke after the request was sent ({name}); whether it counts is not known"
    return _failure(ErrorClass.UNKNOWN_OUTCOME, "NO_ANSWER", text, CallOutcome.UNKNOWN)


def read_interrupted(error: BaseException, outcome: CallOutcome) -> ProviderFailure:
    """What a connection problem of a poll (outcome UNKNOWN) or a download (PAID) means: try again."""
    text = f"the connection to the provider broke ({type(error).__name__})"
    return _failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, outcome)


def is_transport_error(error: BaseException) -> bool:
    """True for time-outs and connection problems of any HTTP library that may be underneath."""
    families = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return isinstance(error, OSError) or not families.isdisjoint(_TRANSPORTS)


def sent_nothing(error: BaseException) -> bool:
    """True where no byte of the request can have reached the provider."""
    return not _BEFORE_SENDING.isdisjoint(base.__name__ for base in type(error).__mro__)


def unreadable_answer() -> ProviderFailure:
    """An answer of 200 to a paid call that cannot be understood."""
    text = "the provider's answer could not be understood; whether the request counts is not known"
    return _failure(ErrorClass.UNKNOWN_OUTCOME, "UNREADABLE_ANSWER", text, CallOutcome.UNKNOWN)


def blocked_prompt(reason: str, message: str, *, secret: str = "") -> ProviderFailure:
    """The prompt was blocked before anything was made."""
    return _refusal("PROMPT_BLOCKED", f"the provider blocks this prompt ({reason})", message, (reason,), secret)


def no_image(finish_reason: str, message: str, text: str, *, secret: str = "") -> ProviderFailure:
    """An answer without a picture: `message` is the provider's explanation, `text` what the model wrote instead."""
    if finish_reason == "STOP" and text:
        return _refusal("NO_IMAGE", "the model answered in words instead of a picture", text, ("STOP",), secret)
    error_class = _BY_FINISH_REASON.get(finish_reason, _TRANSIENT)
    reason = finish_reason or "no reason given"
    sentence = f"the provider made no picture ({reason})"
    if error_class is _REFUSED:
        return _refusal("SAFETY", sentence, message, (finish_reason,), secret)
    code = "EMPTY_RESULT" if error_class is _TRANSIENT else "PROVIDER_INVALID_ARGUMENT"
    shown = _with_detail(sentence, message, secret)
    return _failure(error_class, code, shown, CallOutcome.UNPAID, (finish_reason,) if finish_reason else ())


def damaged_image() -> ProviderFailure:
    """A picture came and was paid for, but it is not readable."""
    return _failure(_TRANSIENT, "DAMAGED_RESULT", "the provider's picture does not decode", CallOutcome.PAID)


def operation_failure(error: object, *, secret: str = "") -> ProviderFailure:
    """A video operation ended with an error: settled and unpaid."""
    fields = error if isinstance(error, Mapping) else {}
    rpc_code, message = fields.get("code"), fields.get("message")
    message = message if isinstance(message, str) else ""
    if rpc_code == 3 and any(word in message.lower() for word in _POLICY_WORDS):
        return filtered_video([message], secret=secret)
    known = _BY_RPC_CODE.get(rpc_code) if isinstance(rpc_code, int) else None
    error_class, code = known or (_TRANSIENT, "OPERATION_FAILED")
    text = _with_detail(f"the provider could not make the video (code {rpc_code})", message, secret)
    return _failure(error_class, code, text, CallOutcome.UNPAID, (f"rpc:{rpc_code}",))


def filtered_video(reasons: Sequence[str], *, secret: str = "") -> ProviderFailure:
    """A video operation ended with its result filtered: a refusal, except for its sound, which often passes later."""
    message = " ".join(reasons)
    if "audio" in message.lower() and not support_codes(message):
        text = _with_detail("the provider filtered the video's sound", message, secret)
        return _failure(_TRANSIENT, "AUDIO_FILTERED", text, CallOutcome.UNPAID)
    return _refusal("SAFETY", "the provider filtered the video", message, (), secret)


def empty_operation() -> ProviderFailure:
    """A video operation ended with neither a result nor a reason."""
    text = "the provider ended the operation without a video"
    return _failure(_TRANSIENT, "EMPTY_RESULT", text, CallOutcome.UNPAID)


def unreachable_video() -> ProviderFailure:
    """A video was made, but its address is of no use to us: paid, so nothing may be made again by itself."""
    text = "the provider made the video but named no address to fetch it from"
    return _failure(ErrorClass.UNKNOWN_OUTCOME, "VIDEO_WITHOUT_ADDRESS", text, CallOutcome.PAID)


def interaction_ended(
    status: str, problems: Sequence[tuple[str, str]], words: str, *, secret: str = ""
) -> ProviderFailure:
    """An interaction ended without a video: settled and unpaid.

    `problems` are code and message of its errors, `words` what the model wrote instead.
    """
    code, message = problems[0] if problems else ("", "")
    if status == "budget_exceeded":
        text = _with_detail("the account's budget at the provider is used up", message, secret)
        wait = seconds_until_quota_reset()
        return _failure(ErrorClass.QUOTA_EXHAUSTED, "PROVIDER_BUDGET", text, CallOutcome.UNPAID, (status,), wait=wait)
    if status in {"requires_action", "requires_continuation"} or (status == "completed" and words):
        return _refusal("NO_VIDEO", "the model answered in words instead of a video", words, (status,), secret)
    if status == "cancelled":
        text = "somebody cancelled the operation at the provider"
        return _failure(_TRANSIENT, "OPERATION_CANCELLED", text, CallOutcome.UNPAID, (status,))
    if problems:
        word = code.upper().rpartition("/")[2]
        if word.lower() in _BLOCKED or any(each in message.lower() for each in _POLICY_WORDS):
            return filtered_video([message], secret=secret)
        return operation_failure({"code": _RPC_CODES.get(word, 2), "message": message}, secret=secret)
    return empty_operation()


def failed_file() -> ProviderFailure:
    """A video was made, and the provider could not keep it: paid, so nothing may be made again by itself."""
    text = "the provider made the video but could not keep its file"
    return _failure(ErrorClass.UNKNOWN_OUTCOME, "VIDEO_FILE_FAILED", text, CallOutcome.PAID)


def video_in_bucket() -> ProviderFailure:
    """A video was made into a bucket of Google's, which this system neither asks for nor reads."""
    text = "the provider put the video into a bucket (gs://) instead of its answer; fetch it from there by hand"
    return _failure(ErrorClass.UNKNOWN_OUTCOME, "VIDEO_IN_BUCKET", text, CallOutcome.PAID)


def unreadable_download() -> ProviderFailure:
    """An answer that should hold the video does not: try again."""
    text = "the provider's answer holds no readable video"
    return _failure(_TRANSIENT, "UNREADABLE_ANSWER", text, CallOutcome.PAID)


def oversized_video(max_bytes: int) -> ProviderFailure:
    """A video was made that is larger than its bucket takes."""
    text = f"the video is larger than {max_bytes} bytes"
    return _failure(_INVALID, "VIDEO_TOO_LARGE", text, CallOutcome.PAID)


def unreadable_poll() -> ProviderFailure:
    """A poll was answered with something that is no operation: poll on."""
    return _failure(_TRANSIENT, "UNREADABLE_ANSWER", "the provider's answer is no operation", CallOutcome.UNKNOWN)


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
            return _INVALID, "MODEL_RETIRED", retired or "the model is not or no longer available"
    error_class, code, text = _BY_STATUS.get(status, _BY_STATUS[400])
    if error is not None and error_class is _INVALID:
        text = _with_detail(text, error.message, secret)
    return error_class, code, text


def _special(status: int, error: GoogleError) -> tuple[ErrorClass, str, str] | None:
    if status == 400 and ("API_KEY_INVALID" in error.reasons or error.says("api key not valid", "api key expired")):
        return _BY_STATUS[401]
    if status == 400 and error.status.lower() in _BLOCKED:
        return _REFUSED, "PROMPT_BLOCKED", "the provider refuses the prompt"
    if status == 400 and error.status.upper() == "FAILED_PRECONDITION":
        text = "the provider refuses this installation (billing or region)"
        return ErrorClass.CONFIG, "PROVIDER_PRECONDITION", text
    if status in {429, 503} and ("MODEL_CAPACITY_EXHAUSTED" in error.reasons or error.says("overloaded")):
        return ErrorClass.RATE_LIMITED, "CAPACITY_EXHAUSTED", "the model is overloaded at the provider"
    return _quota(error) if status == 429 else None


def _quota(error: GoogleError) -> tuple[ErrorClass, str, str] | None:
    """What kind of quota is used up; None for that of a minute."""
    if error.no_quota:
        return ErrorClass.CONFIG, "PROVIDER_NO_QUOTA", "the provider's account has no quota for this model"
    if error.status == "quota_exceeded" or any("PerDay" in quota_id for quota_id in error.quota_ids):
        return ErrorClass.QUOTA_EXHAUSTED, "DAILY_QUOTA", "the provider's quota of the day is used up"
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
    elif error_class is not ErrorClass.CONFIG or status == 404 or code == "PROVIDER_PRECONDITION":
        # A precondition of a read is a file that is not ready.
        error_class, code, text = _TRANSIENT, "PROVIDER_UNAVAILABLE", f"the provider answered {status}"
    return _failure(error_class, code, text, outcome, _words(error), wait=_wait(error_class, error, headers))


def _gone(code: str, text: str, error: GoogleError) -> ProviderFailure:
    return _failure(ErrorClass.UNKNOWN_OUTCOME, code, text, CallOutcome.PAID, error.words)


def _refusal(code: str, sentence: str, message: str, reasons: tuple[str, ...], secret: str) -> ProviderFailure:
    codes = support_codes(message)
    about = f"; category: {categories(codes)}" if codes else ""
    text = _with_detail(sentence + about, message, secret)
    return _failure(_REFUSED, code, text, CallOutcome.UNPAID, (*reasons, *codes))


def _with_detail(sentence: str, detail: str, secret: str) -> str:
    shown = presentable(detail, secret=secret)
    return f"{sentence}: {shown}" if shown else sentence


def _words(error: GoogleError | None) -> tuple[str, ...]:
    return error.words if error is not None else ()


def _failure(
    error_class: ErrorClass,
    code: str,
    text: str,
    outcome: CallOutcome,
    provider_codes: tuple[str, ...] = (),
    *,
    wait: float | None = None,
) -> ProviderFailure:
    return ProviderFailure(JobError(error_class, code, text, provider_codes), outcome, retry_after_seconds=wait)
