"""What the error of a paid call means for its job.

The outcome is UNPAID only where the provider says that nothing was accepted: 4xx, and 503 with Google's error body.
Everything else after sending is UNKNOWN, and keeps what came. `results` has what answers of 200 say.
"""

from __future__ import annotations

from collections.abc import Mapping

from superstoryboard.domain.errors import CallOutcome, ErrorClass, ProviderFailure
from superstoryboard.providers.answers import kept
from superstoryboard.providers.google.error_body import read_google_error
from superstoryboard.providers.google.failures import POLICY_WORDS, failure, refusal
from superstoryboard.providers.google.status_table import classify, wait_of, words_of

_TRANSIENT = ErrorClass.TRANSIENT

# A proxy on the way may say these of a request that the provider has: they count in the provider's own words only.
_PERHAPS_BETWEEN = frozenset({408, 499, 503})

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
        return failure(
            ErrorClass.UNKNOWN_OUTCOME, "PROVIDER_ERROR", text, CallOutcome.UNKNOWN, words_of(error), raw=came
        )
    if status == 400 and error is not None and error.says(*POLICY_WORDS):
        return refusal("SAFETY", "The provider refused this request", error.message, error.words, secret)
    error_class, code, text = classify(status, error, retired, secret)
    wait = wait_of(error_class, error, headers)
    return failure(error_class, code, text, CallOutcome.UNPAID, words_of(error), wait=wait)


def submit_interrupted(error: BaseException) -> ProviderFailure:
    """What a connection problem of a paid call means: settled where nothing was sent, else unknown."""
    name = type(error).__name__
    if sent_nothing(error):
        text = f"The provider could not be reached ({name})"
        return failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, CallOutcome.UNPAID)
    text = f"The connection broke after the request was sent ({name}). The request may have been accepted and charged"
    return failure(ErrorClass.UNKNOWN_OUTCOME, "NO_RESPONSE", text, CallOutcome.UNKNOWN)


def unreadable_answer(answer: object = "", *, secret: str = "") -> ProviderFailure:
    """An answer of 200 to a paid call that cannot be understood; `answer` is what came."""
    text = "The provider's response could not be read. The request may have been accepted and charged"
    raw = kept(answer, secret=secret)
    return failure(ErrorClass.UNKNOWN_OUTCOME, "UNREADABLE_RESPONSE", text, CallOutcome.UNKNOWN, raw=raw)


def is_transport_error(error: BaseException) -> bool:
    """True for time-outs and connection problems of any HTTP library that may be underneath."""
    families = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return isinstance(error, OSError) or not families.isdisjoint(_TRANSPORTS)


def sent_nothing(error: BaseException) -> bool:
    """True where no byte of the request can have reached the provider."""
    return not _BEFORE_SENDING.isdisjoint(base.__name__ for base in type(error).__mro__)
