"""What may have been sent, and how waits and words of providers are read."""

import html
import json
import socket
import ssl
from urllib.parse import quote

import httpx
import httpx2
import pytest

from superstoryboard.domain.errors import CallOutcome, ErrorClass, ProviderFailure
from superstoryboard.providers.google import poll_errors, results, submit_errors
from superstoryboard.providers.retry_after import parse_seconds
from superstoryboard.providers.wording import LONGEST, hide_prompt, presentable, support_codes

UNPAID, UNKNOWN, PAID = CallOutcome.UNPAID, CallOutcome.UNKNOWN, CallOutcome.PAID


def facts(failure: ProviderFailure) -> tuple[str, str, CallOutcome]:
    return failure.error.error_class.value, failure.error.code, failure.outcome


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("x"),
        httpx.ConnectTimeout("x"),
        httpx.PoolTimeout("x"),
        httpx2.ConnectError("x"),
        ConnectionRefusedError("x"),
        socket.gaierror("x"),
        ssl.SSLCertVerificationError("x"),
    ],
)
def test_what_was_never_sent_is_unpaid(error: Exception) -> None:
    assert submit_errors.is_transport_error(error)
    failure = submit_errors.submit_interrupted(error)
    assert facts(failure) == ("TRANSIENT", "PROVIDER_UNREACHABLE", UNPAID)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("10.1.2.3"),
        httpx.RemoteProtocolError("10.1.2.3"),
        httpx2.ReadError("10.1.2.3"),
        httpx2.WriteTimeout("10.1.2.3"),
        TimeoutError("10.1.2.3"),
        ConnectionResetError("10.1.2.3"),
    ],
)
def test_what_may_have_been_sent_is_unknown(error: Exception) -> None:
    assert submit_errors.is_transport_error(error)
    failure = submit_errors.submit_interrupted(error)
    assert facts(failure) == ("UNKNOWN_OUTCOME", "NO_RESPONSE", UNKNOWN)
    assert "10.1.2.3" not in failure.error.message
    assert facts(poll_errors.read_interrupted(error, PAID)) == ("TRANSIENT", "PROVIDER_UNREACHABLE", PAID)


def test_other_exceptions_are_no_transport_errors() -> None:
    assert not submit_errors.is_transport_error(ValueError("x"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("38s", 38.0),
        ("38.52s", 38.52),
        ("5", 5.0),
        ("0s", 0.0),
        ("999999999s", 86400.0),
        ("-5s", None),
        ("nan", None),
        ("1e9s", None),
        ("", None),
        (None, None),
        (5, None),
        ("Wed, 21 Oct", None),
    ],
)
def test_durations(text: object, seconds: float | None) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Consumer 'api_key:AIzaSyA1234567890abcdef' has been suspended.",
            "Consumer 'api_key:[key]' has been suspended.",
        ),
        ("GET /v1?key=abc123&alt=media", "GET /v1?key=[key]&alt=media"),
        ("Bearer abc.def", "Bearer [key]"),
        ("my emulator-key here", "my [key] here"),
        ("connect to 10.0.0.3:8080 failed", "connect to [address] failed"),
        ("see http://kong:8000/storage now", "see [address] now"),
        ("at api.prod.svc.cluster.local/x and localhost:80", "at [address] and [address]"),
        ("see https://ai.google.dev/gemini-api/docs", "see https://ai.google.dev/gemini-api/docs"),
        ("two\nlines\x00 and\ttabs", "two lines and tabs"),
    ],
)
def test_texts_are_made_presentable(text: str, shown: str) -> None:
    assert presentable(text, secret="emulator-key") == shown


LONG_PROMPT = "A lighthouse at night, waves, and a keeper who writes\nletters"
ODD_PROMPT = 'A knight who\'s in the "Tower" & plans\nto leave by the <Ünder> gate'


@pytest.mark.parametrize(
    ("prompt", "text", "shown"),
    [
        ("a red fox", "The prompt 'a red fox' is refused", "The prompt '[prompt]' is refused"),
        ("a red fox", "a red fox, again: a red fox", "[prompt], again: [prompt]"),
        ("a red fox", "a red cat", "a red cat"),
        (LONG_PROMPT, f"Too long: {LONG_PROMPT}.", "Too long: [prompt]."),
        (LONG_PROMPT, f"Too long: {LONG_PROMPT[:40]}...", "Too long: [prompt]..."),
        (LONG_PROMPT, f"Too long: {LONG_PROMPT}".replace("\n", "\r\n\t"), "Too long: [prompt]"),
        (LONG_PROMPT, "x" * 1970 + LONG_PROMPT, "x" * (LONGEST - 1) + "…"),
        ("x\0y z", "not x\0y z", "not [prompt]"),
        (LONG_PROMPT, f'{{"said": {json.dumps(LONG_PROMPT)}}}', '{"said": "[prompt]"}'),
        (
            ODD_PROMPT,
            json.dumps({"error": json.dumps({"message": ODD_PROMPT})}),
            r'{"error": "{\"message\": \"[prompt]\"}"}',
        ),
        (ODD_PROMPT, f"no: {ODD_PROMPT}".replace("'", r"\u0027"), "no: [prompt]"),
        (ODD_PROMPT, f"<p>no: {html.escape(ODD_PROMPT)}</p>", "<p>no: [prompt]</p>"),
        (ODD_PROMPT, f"in /v1?q={quote(ODD_PROMPT[:-8])}", "in /v1?q=[prompt]"),
        (ODD_PROMPT, f"not {ODD_PROMPT[10:]!r}", "not '[prompt]'"),
        (ODD_PROMPT, "a knight's horse", "a knight's horse"),
        ("of", "of no use", "of no use"),
        ("", "no prompt", "no prompt"),
    ],
)
async def test_a_prompt_that_is_hidden_is_not_shown(prompt: str, text: str, shown: str) -> None:
    hide_prompt(prompt)
    assert presentable(text) == shown


def test_texts_are_cut() -> None:
    assert len(presentable("x" * 100_000)) == LONGEST
    assert len(presentable("a." * 100_000)) == LONGEST


def test_support_codes_are_found_once_each() -> None:
    assert support_codes("Support codes: 15236754, 58061214, 15236754 (2026)") == ("15236754", "58061214")


def test_refusals_and_invalid_requests_are_final() -> None:
    assert [error_class for error_class in ErrorClass if error_class.final] == [ErrorClass.REFUSED, ErrorClass.INVALID]


@pytest.mark.parametrize(
    ("word", "error_class"),
    [
        ("invalid_request", "INVALID"),
        ("parameter_unknown", "INVALID"),
        ("safety", "REFUSED"),
        ("content_blocked", "REFUSED"),
        ("api_error", "TRANSIENT"),
    ],
)
def test_an_interaction_says_by_a_word_why_it_failed(word: str, error_class: str) -> None:
    failure = results.interaction_ended("failed", [(word, "no")], "")
    assert (failure.error.error_class.value, failure.outcome) == (error_class, UNPAID)
