"""The table from what an answer of 200 holds to what it means for a job, where it holds no picture and no video.

UNPAID is only what the provider says made nothing: a refusal, a reason for an ending, an ending without any response. A
shape that is not known may hold what was paid for: UNKNOWN_OUTCOME, with the answer kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from superstoryboard.domain.errors import CallOutcome, ErrorClass, ProviderFailure
from superstoryboard.providers.answers import kept, text
from superstoryboard.providers.google.failures import BLOCKED, POLICY_WORDS, failure, refusal, with_detail
from superstoryboard.providers.google.status_table import seconds_until_quota_reset
from superstoryboard.providers.google.submit_errors import unreadable_answer
from superstoryboard.providers.wording import support_codes

_REFUSED, _INVALID, _TRANSIENT = ErrorClass.REFUSED, ErrorClass.INVALID, ErrorClass.TRANSIENT
_UNKNOWN = ErrorClass.UNKNOWN_OUTCOME
_UNPAID, _PAID = CallOutcome.UNPAID, CallOutcome.PAID

# Reasons for which a candidate holds no picture. Any other says nothing of the payment.
_REFUSALS = (
    "SAFETY",
    "IMAGE_SAFETY",
    "PROHIBITED_CONTENT",
    "IMAGE_PROHIBITED_CONTENT",
    "BLOCKLIST",
    "SPII",
    "RECITATION",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
)
_BY_FINISH_REASON = (
    dict.fromkeys(_REFUSALS, _REFUSED)
    | dict.fromkeys(("NO_IMAGE", "IMAGE_OTHER", "OTHER", "MALFORMED_RESPONSE"), _TRANSIENT)
    | {"LANGUAGE": _INVALID}
)

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


def blocked_prompt(reason: str, message: str, *, secret: str = "") -> ProviderFailure:
    """The prompt was blocked before anything was made."""
    return refusal("PROMPT_BLOCKED", f"The provider blocked this prompt ({reason[:40]})", message, (reason,), secret)


def no_image(finish_reason: str, message: str, words: str, answer: object, *, secret: str = "") -> ProviderFailure:
    """An answer without a picture: `message` is the provider's explanation, `words` what the model wrote instead."""
    if finish_reason == "STOP" and words:
        return refusal("NO_IMAGE", "The model returned text instead of an image", words, ("STOP",), secret)
    error_class = _BY_FINISH_REASON.get(finish_reason)
    if error_class is None:
        return unreadable_answer(answer, secret=secret)
    sentence = f"The provider generated no image ({finish_reason})"
    if error_class is _REFUSED:
        return refusal("SAFETY", sentence, message, (finish_reason,), secret)
    code = "EMPTY_RESULT" if error_class is _TRANSIENT else "PROVIDER_INVALID_ARGUMENT"
    return failure(error_class, code, with_detail(sentence, message, secret), _UNPAID, (finish_reason,))


def refuses(finish_reason: str) -> bool:
    """True for a reason that says that a filter kept the picture back."""
    return finish_reason in _REFUSALS


def damaged_image(answer: object = "", *, secret: str = "") -> ProviderFailure:
    """A picture came and was paid for, but it is not readable."""
    raw = kept(answer, secret=secret)
    return failure(_TRANSIENT, "DAMAGED_RESULT", "Charged, but the image cannot be decoded", _PAID, raw=raw)


def operation_failure(error: object, *, secret: str = "") -> ProviderFailure:
    """A video operation ended with an error: settled and unpaid; UNKNOWN_OUTCOME where it is no error of Google's."""
    fields = error if isinstance(error, Mapping) else {}
    rpc_code, message = fields.get("code"), text(fields.get("message"))
    if not isinstance(rpc_code, int) or isinstance(rpc_code, bool) or not 0 < rpc_code < 1000:
        return unknown_result({"error": error}, secret=secret)
    if rpc_code == 3 and any(word in message.lower() for word in POLICY_WORDS):
        return filtered_video([message], secret=secret)
    error_class, code = _BY_RPC_CODE.get(rpc_code, (_TRANSIENT, "OPERATION_FAILED"))
    sentence = with_detail(f"The provider could not make the video (code {rpc_code})", message, secret)
    return failure(error_class, code, sentence, _UNPAID, (f"rpc:{rpc_code}",))


def filtered_video(reasons: Sequence[str], *, secret: str = "") -> ProviderFailure:
    """A video operation ended with its result filtered: a refusal, except for its sound, which often passes later."""
    message = " ".join(reasons)
    if "audio" in message.lower() and not support_codes(message):
        sentence = with_detail("The provider filtered the video's audio", message, secret)
        return failure(_TRANSIENT, "AUDIO_FILTERED", sentence, _UNPAID)
    return refusal("SAFETY", "The provider filtered the video", message, (), secret)


def empty_operation() -> ProviderFailure:
    """A video operation ended with neither a result nor a reason."""
    return failure(_TRANSIENT, "EMPTY_RESULT", "The provider ended the operation without a video", _UNPAID)


def unknown_result(answer: object, *, secret: str = "") -> ProviderFailure:
    """An operation reports something that is not known here, and may be the video: nothing is made again by itself."""
    sentence = "The provider's result could not be read. The video may have been charged"
    return failure(_UNKNOWN, "UNREADABLE_RESULT", sentence, _PAID, raw=kept(answer, secret=secret))


def unreachable_video(answer: object = "", *, secret: str = "") -> ProviderFailure:
    """A video was made, but its address is of no use to us: paid, so nothing may be made again by itself."""
    sentence = "Charged, but the provider returned no URL for the download"
    return failure(_UNKNOWN, "VIDEO_URL_MISSING", sentence, _PAID, raw=kept(answer, secret=secret))


def interaction_ended(
    status: str, problems: Sequence[tuple[str, str]], words: str, *, secret: str = ""
) -> ProviderFailure:
    """An interaction ended without a video: settled and unpaid.

    `problems` are code and message of its errors, `words` what the model wrote instead.
    """
    code, message = problems[0] if problems else ("", "")
    if status == "budget_exceeded":
        sentence = with_detail("The account's budget at the provider is exhausted", message, secret)
        wait = seconds_until_quota_reset()
        return failure(ErrorClass.QUOTA_EXHAUSTED, "PROVIDER_BUDGET_EXHAUSTED", sentence, _UNPAID, (status,), wait=wait)
    if status in {"requires_action", "requires_continuation"} or (status == "completed" and words):
        return refusal("NO_VIDEO", "The model returned text instead of a video", words, (status,), secret)
    if status == "cancelled":
        sentence = "The operation was cancelled at the provider"
        return failure(_TRANSIENT, "OPERATION_CANCELLED", sentence, _UNPAID, (status,))
    if problems:
        word = code.upper().rpartition("/")[2]
        if word.lower() in BLOCKED or any(each in message.lower() for each in POLICY_WORDS):
            return filtered_video([message], secret=secret)
        return operation_failure({"code": _RPC_CODES.get(word, 2), "message": message}, secret=secret)
    return empty_operation()


def failed_file() -> ProviderFailure:
    """A video was made, and the provider could not keep it: paid, so nothing may be made again by itself."""
    sentence = "Charged, but the provider could not process the video's file"
    return failure(_UNKNOWN, "VIDEO_FILE_FAILED", sentence, _PAID)


def video_in_bucket() -> ProviderFailure:
    """A video was made into a bucket of Google's, which this system neither asks for nor reads."""
    sentence = (
        "Charged, but the provider stored the video in a Cloud Storage bucket (gs://). Download it from there by hand"
    )
    return failure(_UNKNOWN, "VIDEO_IN_CLOUD_STORAGE", sentence, _PAID)


def unreadable_download() -> ProviderFailure:
    """An answer that should hold the video does not: try again."""
    return failure(_TRANSIENT, "UNREADABLE_RESPONSE", "The provider's response contains no readable video", _PAID)


def oversized_video(max_bytes: int) -> ProviderFailure:
    """A video was made that is larger than its bucket takes."""
    return failure(_INVALID, "VIDEO_TOO_LARGE", f"Charged, but the video is larger than {max_bytes} bytes", _PAID)


def unreadable_poll() -> ProviderFailure:
    """A poll was answered with something that is no operation: poll on."""
    sentence = "The provider's response is not an operation"
    return failure(_TRANSIENT, "UNREADABLE_RESPONSE", sentence, CallOutcome.UNKNOWN)
