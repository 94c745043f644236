"""Failures of provider calls as they are made of a class, a code and what the provider says."""

from __future__ import annotations

from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.providers.google.error_body import WORD
from superstoryboard.providers.wording import categories, presentable, support_codes

_REFUSED, _TRANSIENT = ErrorClass.REFUSED, ErrorClass.TRANSIENT

# Words of the Interactions API for what its filters stopped.
BLOCKED = frozenset({"safety", "prohibited_content", "content_blocked", "blocklist", "spii", "recitation"})
POLICY_WORDS = (
    "support codes",
    "responsible ai",
    "usage guidelines",
    "sensitive words",
    "safety filter",
    "safety guideline",
    "safety polic",
)


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


def refusal(code: str, sentence: str, message: str, reasons: tuple[str, ...], secret: str) -> ProviderFailure:
    """The provider refused for what was asked or made: unpaid, and never repeated."""
    codes = support_codes(message)
    about = f"; category: {categories(codes)}" if codes else ""
    text = with_detail(sentence + about, message, secret)
    return failure(_REFUSED, code, text, CallOutcome.UNPAID, (*reasons, *codes))


def no_access(text: str, *, lasting: bool, outcome: CallOutcome) -> ProviderFailure:
    """No credentials for a call that was therefore not sent; `lasting` where somebody must change them."""
    if lasting:
        return failure(ErrorClass.CONFIG, "PROVIDER_ACCESS_DENIED", text, outcome)
    return failure(_TRANSIENT, "PROVIDER_UNREACHABLE", text, outcome)


def with_detail(sentence: str, detail: str, secret: str) -> str:
    """The sentence with what the provider says, as it may be shown."""
    shown = presentable(detail, secret=secret)
    return f"{sentence}: {shown}" if shown else sentence
