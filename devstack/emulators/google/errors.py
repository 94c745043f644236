"""Errors in the shape of Google's JSON error body."""

from collections.abc import Sequence
from typing import Any, Literal

Surface = Literal["gemini", "vertex", "interactions"]
Json = dict[str, Any]

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# The machine-readable words of the Interactions API, which has them in place of Google's status names.
_WORDS = {
    400: "invalid_request",
    401: "authentication",
    402: "payment_required",
    403: "permission_denied",
    404: "not_found",
    409: "aborted",
    416: "out_of_range",
    429: "rate_limit_exceeded",
    499: "cancelled",
    500: "api_error",
    501: "unimplemented",
    503: "service_unavailable",
    504: "deadline_exceeded",
}
SERVICE = "generativelanguage.googleapis.com"
VERTEX_SERVICE = "aiplatform.googleapis.com"
_METRICS: dict[Surface, str] = {
    "gemini": "generate_content_free_tier_requests",
    "vertex": "online_prediction_requests_per_base_model",
    "interactions": "generate_content_free_tier_requests",
}
_QUOTA_IDS: dict[Surface, str] = {
    "gemini": "GenerateRequests{}PerProjectPerModel-FreeTier",
    "vertex": "OnlinePredictionRequests{}PerProjectPerBaseModel",
    "interactions": "GenerateRequests{}PerProjectPerModel-FreeTier",
}
_TYPES = "type.googleapis.com/google.rpc."
_RATE_LIMIT_PAGE = "https://ai.google.dev/gemini-api/docs/rate-limits"


class ApiError(Exception):
    """An answer with an HTTP error status and Google's error body.

    ``word`` is the code that the Interactions API gives where it is not the usual one of the HTTP status.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str | None = None,
        details: Sequence[Json] = (),
        word: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS_NAMES.get(code, "UNKNOWN")
        self.details = list(details)
        self.word = word or _WORDS.get(code, "api_error")

    def body(self, surface: Surface = "gemini") -> Json:
        """Return the JSON body; ``details`` is left out when there are none, as Google does."""
        if surface == "interactions":
            return {"error": {"code": self.word, "message": self.message}}
        error: Json = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return {"error": error}


def invalid(message: str, *, field: str | None = None) -> ApiError:
    """Return a 400 INVALID_ARGUMENT; ``field`` adds the BadRequest detail that names it."""
    if field is None:
        return ApiError(400, message)
    violation = {"field": field, "description": message}
    return ApiError(400, message, details=[{"@type": f"{_TYPES}BadRequest", "fieldViolations": [violation]}])


def service_of(surface: Surface) -> str:
    """Return the name under which Google accounts for a surface."""
    return VERTEX_SERVICE if surface == "vertex" else SERVICE


def invalid_key(surface: Surface = "gemini") -> ApiError:
    """Return Google's answer to a key it does not know."""
    message = "API key not valid. Please pass a valid API key."
    info = {
        "@type": f"{_TYPES}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": service_of(surface)},
    }
    localized = {"@type": f"{_TYPES}LocalizedMessage", "locale": "en-US", "message": message}
    return ApiError(401 if surface == "interactions" else 400, message, details=[info, localized])


def missing_key() -> ApiError:
    """Return Google's answer to a request without any credential."""
    return ApiError(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def unauthenticated(message: str, reason: str) -> ApiError:
    """Return Vertex's 401; ``reason`` is the word of its ErrorInfo."""
    info = {
        "@type": f"{_TYPES}ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": VERTEX_SERVICE},
    }
    return ApiError(401, message, details=[info])


def blocked_prompt() -> ApiError:
    """Return the refusal of a video's prompt before anything is made of it."""
    message = (
        "The prompt could not be submitted. This prompt contains sensitive words that violate Google's "
        "Responsible AI practices. Try rephrasing the prompt. Support codes: 58061214"
    )
    return ApiError(400, message, word="prohibited_content")


def file_not_visible(file_id: str) -> ApiError:
    """Return Google's answer for a file that is not there: it does not tell unknown from forbidden."""
    return ApiError(403, f"You do not have permission to access the File {file_id} or it may not exist.")


def quota_exceeded(
    model: str, *, period: str, limit: int, retry_seconds: float, surface: Surface = "gemini"
) -> ApiError:
    """Return a 429 with QuotaFailure, Help and RetryInfo.

    ``period`` is ``PerMinute`` or ``PerDay``. RetryInfo is present for both, although it means nothing for
    a daily quota: that is how the service behaves.
    """
    metric = f"{service_of(surface)}/{_METRICS[surface]}"
    delay = f"{retry_seconds:g}s"
    message = (
        "You exceeded your current quota, please check your plan and billing details. "
        f"For more information on this error, head to: {_RATE_LIMIT_PAGE}. \n"
        f"* Quota exceeded for metric: {metric}, limit: {limit}, model: {model}\n"
        f"Please retry in {delay}."
    )
    violation = {
        "quotaMetric": metric,
        "quotaId": _QUOTA_IDS[surface].format(period),
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": str(limit),
    }
    link = {"description": "Learn more about Gemini API quotas", "url": _RATE_LIMIT_PAGE}
    details: list[Json] = [
        {"@type": f"{_TYPES}QuotaFailure", "violations": [violation]},
        {"@type": f"{_TYPES}Help", "links": [link]},
        {"@type": f"{_TYPES}RetryInfo", "retryDelay": delay},
    ]
    return ApiError(429, message, details=details, word="quota_exceeded" if period == "PerDay" else None)


def overloaded(model: str, surface: Surface = "gemini") -> ApiError:
    """Return a 503 with the capacity ErrorInfo."""
    info = {
        "@type": f"{_TYPES}ErrorInfo",
        "reason": "MODEL_CAPACITY_EXHAUSTED",
        "domain": service_of(surface),
        "metadata": {"model": model},
    }
    return ApiError(503, "The model is overloaded. Please try again later.", details=[info])


def internal() -> ApiError:
    """Return the 500 Google gives without any detail."""
    return ApiError(
        500,
        "An internal error has occurred. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting",
    )


def plain_error(code: int) -> ApiError:
    """Return an error without details for a scripted bare status."""
    return ApiError(code, f"Scripted response {code}.")
