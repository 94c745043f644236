"""The table from provider errors to ours, row by row."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from superstoryboard.domain.errors import CallOutcome, ProviderFailure
from superstoryboard.providers.answers import KEPT_CHARACTERS, kept
from superstoryboard.providers.google import poll_errors, results, status_table, submit_errors

TYPES = "type.googleapis.com/google.rpc."

RETRY = {"@type": f"{TYPES}RetryInfo", "retryDelay": "38.52s"}

UNPAID, UNKNOWN, PAID = CallOutcome.UNPAID, CallOutcome.UNKNOWN, CallOutcome.PAID


def google(code: int, message: str = "no", status: str = "X", *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def quota(*ids: str, value: str = "15") -> dict[str, Any]:
    violations = [{"quotaId": quota_id, "quotaValue": value} for quota_id in ids]
    return {"@type": f"{TYPES}QuotaFailure", "violations": violations}


def reason(word: str) -> dict[str, Any]:
    return {"@type": f"{TYPES}ErrorInfo", "reason": word, "domain": "googleapis.com"}


def facts(failure: ProviderFailure) -> tuple[str, str, CallOutcome]:
    return failure.error.error_class.value, failure.error.code, failure.outcome


SUBMITS = [
    (429, google(429, "slow", "RESOURCE_EXHAUSTED", quota("RequestsPerMinute"), RETRY), "RATE_LIMITED", "RATE_LIMITED"),
    (429, google(429, "Resource has been exhausted (e.g. check quota)"), "RATE_LIMITED", "RATE_LIMITED"),
    (429, "<html>", "RATE_LIMITED", "RATE_LIMITED"),
    (
        429,
        google(429, "x", "X", quota("PerMinute", "RequestsPerDay"), RETRY),
        "QUOTA_EXHAUSTED",
        "DAILY_QUOTA_EXHAUSTED",
    ),
    (429, google(429, "* limit: 0, model: m", "X", quota("PerDay")), "CONFIG", "PROVIDER_NO_QUOTA"),
    (429, google(429, "x", "X", quota("PerDay", value="0")), "CONFIG", "PROVIDER_NO_QUOTA"),
    (429, google(429, "limit: 0.5, limit: 05", "X", quota("PerMinute")), "RATE_LIMITED", "RATE_LIMITED"),
    (429, google(429, "x", "X", reason("MODEL_CAPACITY_EXHAUSTED")), "RATE_LIMITED", "CAPACITY_EXHAUSTED"),
    (503, google(503, "The model is overloaded."), "RATE_LIMITED", "CAPACITY_EXHAUSTED"),
    (503, google(503, "down", "UNAVAILABLE"), "TRANSIENT", "PROVIDER_UNAVAILABLE"),
    (400, google(400, "bad ratio", "INVALID_ARGUMENT"), "INVALID", "PROVIDER_INVALID_ARGUMENT"),
    (400, "nonsense", "INVALID", "PROVIDER_INVALID_ARGUMENT"),
    (400, google(400, "API key not valid. Please pass a valid API key."), "CONFIG", "PROVIDER_ACCESS_DENIED"),
    (400, google(400, "x", "X", reason("API_KEY_INVALID")), "CONFIG", "PROVIDER_ACCESS_DENIED"),
    (400, google(400, "not in your country", "FAILED_PRECONDITION"), "CONFIG", "PROVIDER_ACCOUNT_REJECTED"),
    (400, google(400, "It violates Google's Responsible AI practices. Support codes: 58061214"), "REFUSED", "SAFETY"),
    (429, {"error": {"code": "quota_exceeded", "message": "today"}}, "QUOTA_EXHAUSTED", "DAILY_QUOTA_EXHAUSTED"),
    (429, {"error": {"code": "rate_limit_exceeded", "message": "slow"}}, "RATE_LIMITED", "RATE_LIMITED"),
    (400, {"error": {"code": "prohibited_content", "message": "no"}}, "REFUSED", "PROMPT_BLOCKED"),
    (400, {"error": {"code": "failed_precondition", "message": "no"}}, "CONFIG", "PROVIDER_ACCOUNT_REJECTED"),
    (401, google(401), "CONFIG", "PROVIDER_ACCESS_DENIED"),
    (403, google(403), "CONFIG", "PROVIDER_ACCESS_DENIED"),
    (404, google(404, "models/x is no longer available"), "INVALID", "MODEL_RETIRED"),
    (404, "<html>not here</html>", "CONFIG", "PROVIDER_NOT_FOUND"),
    (408, google(408), "TRANSIENT", "PROVIDER_TIMEOUT"),
    (413, None, "INVALID", "PROVIDER_REQUEST_TOO_LARGE"),
    (418, None, "INVALID", "PROVIDER_INVALID_ARGUMENT"),
]


@pytest.mark.parametrize(("status", "body", "error_class", "code"), SUBMITS)
def test_a_paid_call_that_is_settled_as_unpaid(status: int, body: Any, error_class: str, code: str) -> None:
    assert facts(submit_errors.submit_failure(status, body, {})) == (error_class, code, UNPAID)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (408, None),
        (499, "<html>"),
        (500, google(500)),
        (502, "<html>"),
        (503, "<html>"),
        (504, google(504)),
        (302, ""),
        (204, ""),
    ],
)
def test_everything_else_after_sending_is_unknown(status: int, body: Any) -> None:
    assert facts(submit_errors.submit_failure(status, body, {})) == ("UNKNOWN_OUTCOME", "PROVIDER_ERROR", UNKNOWN)


def test_the_wait_is_the_one_asked_for() -> None:
    body = google(429, "slow", "X", RETRY)
    assert submit_errors.submit_failure(429, body, {"retry-after": "5"}).retry_after_seconds == 38.52
    assert submit_errors.submit_failure(429, google(429), {"retry-after": "5"}).retry_after_seconds == 5
    assert submit_errors.submit_failure(429, google(429), {}).retry_after_seconds == status_table.DEFAULT_WAIT_SECONDS
    assert submit_errors.submit_failure(400, google(400), {}).retry_after_seconds is None


def test_a_daily_quota_waits_for_midnight_in_california_whatever_retry_info_says() -> None:
    failure = submit_errors.submit_failure(429, google(429, "x", "X", quota("PerDay"), RETRY), {})
    assert failure.retry_after_seconds is not None
    assert 0 < failure.retry_after_seconds <= 25 * 3600
    assert status_table.seconds_until_quota_reset(datetime(2026, 11, 21, 4, 16, tzinfo=UTC)) == (3 * 60 + 44) * 60
    assert status_table.seconds_until_quota_reset(datetime(2026, 7, 1, 6, 59, tzinfo=UTC)) == 60
    assert status_table.seconds_until_quota_reset(datetime(2026, 11, 1, 7, 0, tzinfo=UTC)) == 25 * 3600


def test_a_retired_model_names_what_it_was_told() -> None:
    body = google(404, "gone")
    assert submit_errors.submit_failure(404, body, {}, retired="model a; replacement b").error.message == (
        "model a; replacement b"
    )
    assert "not available" in submit_errors.submit_failure(404, body, {}).error.message


def test_provider_words_are_kept_as_codes() -> None:
    body = google(429, "x", "RESOURCE_EXHAUSTED", reason("WHY NOT"), reason("RATE"), quota("PerMinute-Free"))
    assert submit_errors.submit_failure(429, body, {}).error.provider_codes == (
        "RESOURCE_EXHAUSTED",
        "RATE",
        "PerMinute-Free",
    )


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "x",
        {},
        {"error": "x"},
        {"error": {"message": 1}},
        {"error": {"message": "m", "details": "x"}},
        google(429, "m", "s", "x", {"violations": {}}, {"violations": [1]}, {"@type": 3, "retryDelay": []}),
    ],
)
def test_any_shape_of_body_is_survived(body: Any) -> None:
    for status in (302, 400, 404, 429, 500, 503):
        submit_errors.submit_failure(status, body, {})
        poll_errors.poll_failure(status, body, {})
        poll_errors.download_failure(status, body, {})
    results.operation_failure(body)


@pytest.mark.parametrize(
    ("status", "body", "error_class", "code", "outcome"),
    [
        (404, google(404), "UNKNOWN_OUTCOME", "OPERATION_GONE", PAID),
        (404, "<html>", "TRANSIENT", "PROVIDER_UNAVAILABLE", UNKNOWN),
        (429, google(429, "x", "X", quota("PerDay")), "RATE_LIMITED", "RATE_LIMITED", UNKNOWN),
        (400, google(400, "API key not valid"), "CONFIG", "PROVIDER_ACCESS_DENIED", UNKNOWN),
        (403, google(403), "CONFIG", "PROVIDER_ACCESS_DENIED", UNKNOWN),
        (400, google(400), "TRANSIENT", "PROVIDER_UNAVAILABLE", UNKNOWN),
        (500, google(500), "TRANSIENT", "PROVIDER_UNAVAILABLE", UNKNOWN),
        (302, None, "TRANSIENT", "PROVIDER_UNAVAILABLE", UNKNOWN),
    ],
)
def test_polls(status: int, body: Any, error_class: str, code: str, outcome: CallOutcome) -> None:
    assert facts(poll_errors.poll_failure(status, body, {})) == (error_class, code, outcome)


@pytest.mark.parametrize(
    ("status", "body", "error_class", "code"),
    [
        (
            403,
            google(403, "no permission to access the File abc or it may not exist."),
            "UNKNOWN_OUTCOME",
            "VIDEO_GONE",
        ),
        (404, google(404), "UNKNOWN_OUTCOME", "VIDEO_GONE"),
        (403, google(403), "CONFIG", "PROVIDER_ACCESS_DENIED"),
        (400, google(400, "The File is not in an ACTIVE state.", "X"), "TRANSIENT", "PROVIDER_UNAVAILABLE"),
        (500, None, "TRANSIENT", "PROVIDER_UNAVAILABLE"),
    ],
)
def test_downloads_are_paid_whatever_happens(status: int, body: Any, error_class: str, code: str) -> None:
    assert facts(poll_errors.download_failure(status, body, {})) == (error_class, code, PAID)


@pytest.mark.parametrize(
    ("rpc_code", "error_class"),
    [
        (1, "TRANSIENT"),
        (3, "INVALID"),
        (4, "TRANSIENT"),
        (5, "INVALID"),
        (7, "INVALID"),
        (8, "TRANSIENT"),
        (9, "INVALID"),
        (13, "TRANSIENT"),
        (14, "TRANSIENT"),
    ],
)
def test_operations_that_end_with_an_error_are_unpaid(rpc_code: Any, error_class: str) -> None:
    failure = results.operation_failure({"code": rpc_code, "message": "because"})
    assert (failure.error.error_class, failure.outcome) == (error_class, UNPAID)
    assert failure.error.message.endswith(": because")


@pytest.mark.parametrize("error", ["13", [13], {}, {"code": "13"}, {"code": None}, {"code": True}, {"code": 10**30}])
def test_an_error_that_is_none_of_googles_says_nothing_of_the_payment(error: Any) -> None:
    failure = results.operation_failure(error)
    assert facts(failure) == ("UNKNOWN_OUTCOME", "UNREADABLE_RESULT", PAID)
    assert '"error"' in failure.raw_answer


def test_a_policy_error_of_an_operation_is_a_refusal() -> None:
    failure = results.operation_failure({"code": 3, "message": "It has sensitive words. Support codes: 29310472, 1"})
    assert facts(failure) == ("REFUSED", "SAFETY", UNPAID)
    assert failure.error.provider_codes == ("29310472",)
    assert "category: celebrity" in failure.error.message


def test_a_filtered_video_is_a_refusal_and_filtered_sound_is_not() -> None:
    refused = results.filtered_video(["Sorry, no. Support codes: 15236754, 99999999"])
    assert facts(refused) == ("REFUSED", "SAFETY", UNPAID)
    assert refused.error.provider_codes == ("15236754", "99999999")
    assert "category: celebrity, other: Sorry, no." in refused.error.message
    sound = results.filtered_video(
        ["We encountered an issue with the audio for your prompt. You have not been charged"]
    )
    assert facts(sound) == ("TRANSIENT", "AUDIO_FILTERED", UNPAID)
    assert facts(results.filtered_video([])) == ("REFUSED", "SAFETY", UNPAID)


@pytest.mark.parametrize(
    "finish_reason",
    [
        "SAFETY",
        "IMAGE_SAFETY",
        "PROHIBITED_CONTENT",
        "IMAGE_PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    ],
)
def test_results_that_are_refusals(finish_reason: str) -> None:
    failure = results.no_image(finish_reason, "why", "", {})
    assert facts(failure) == ("REFUSED", "SAFETY", UNPAID)
    assert failure.error.provider_codes == (finish_reason,)
    assert failure.error.message == f"The provider generated no image ({finish_reason}): why"


@pytest.mark.parametrize("finish_reason", ["NO_IMAGE", "IMAGE_OTHER", "OTHER", "MALFORMED_RESPONSE"])
def test_results_worth_another_attempt(finish_reason: str) -> None:
    assert facts(results.no_image(finish_reason, "", "", {})) == ("TRANSIENT", "EMPTY_RESULT", UNPAID)


@pytest.mark.parametrize("finish_reason", ["BRAND_NEW", "MAX_TOKENS", "STOP", "", "\x00", "x" * 10_000])
def test_a_reason_that_says_nothing_of_the_payment_is_unknown_and_kept(finish_reason: str) -> None:
    failure = results.no_image(finish_reason, "", "", {"candidates": [{"finishReason": finish_reason}]})
    assert facts(failure) == ("UNKNOWN_OUTCOME", "UNREADABLE_RESPONSE", UNKNOWN)
    assert "finishReason" in failure.raw_answer
    assert len(failure.raw_answer) < 1000


def test_what_is_kept_of_an_answer_is_evidence_without_bytes_and_secrets() -> None:
    media = "iVBORw0KGgo" * 100_000
    answer = {"odd": [{"data": media, "mimeType": "image/x"}] * 500, "uri": "https://x/files/a?key=abc", "text": media}
    deep: Any = "end"
    for _ in range(100):
        deep = {"deeper": deep, "key": "AIzaSyA1234567890abcdef", "mine": "emulator-key"}
    for came in (answer, json.dumps(answer), json.dumps(answer).encode(), deep, b"\xff\x00" + media.encode()):
        shown = kept(came, secret="emulator-key")
        assert 0 < len(shown) <= KEPT_CHARACTERS
        assert not any(word in shown for word in (media[:400], "abc", "AIzaSy", "emulator-key", "\x00"))
    assert '"mimeType": "image/x"' in kept(answer)
    assert kept({"name": "models/m/operations/abc"}) == '{"name": "models/m/operations/abc"}'
    assert (
        ProviderFailure(submit_errors.unreadable_answer().error, UNKNOWN).to_json()
        == submit_errors.unreadable_answer().error.to_json()
    )
    assert submit_errors.unreadable_answer("<html>").to_json()["raw_answer"] == "<html>"


def test_words_instead_of_a_picture_are_a_refusal_and_kept() -> None:
    failure = results.no_image("STOP", "", "Which cat do you mean?", {})
    assert facts(failure) == ("REFUSED", "NO_IMAGE", UNPAID)
    assert "Which cat do you mean?" in failure.error.message
