"""Message bodies of the queue: whatever stands in one, its job is made or refused for good with a named field."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from superstoryboard.domain.errors import ErrorClass
from superstoryboard.providers.bodies import parse_body
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.validation import InvalidGeneration, freeze_body
from superstoryboard.v1.job_pb2 import ImageGeneration, VideoGeneration

CATALOGUE = Catalogue.load()
FIELDS = sorted({field.json_name for each in (ImageGeneration, VideoGeneration) for field in each.DESCRIPTOR.fields})
GOOD = {"storyboardId": "sb-1", "prompt": "a red door"}

_KEYS = st.sampled_from(FIELDS) | st.text(st.characters(exclude_categories=()))
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**450), 10**450)
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from(["4", "16:9", "https://xn--/x", "http://[::1", "a\0b", "\ud800", 1e308])
    | st.builds(lambda: 10**5000)
)
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=8)
_BODIES = st.builds(lambda more: GOOD | more, st.dictionaries(_KEYS, _VALUES)) | _VALUES


def freeze(kind: str, body: object) -> Message:
    return freeze_body(kind, body, CATALOGUE, CATALOGUE.default_name(kind))[0]


@given(st.sampled_from(["image", "video"]), _BODIES)
@example("image", GOOD | {"k" * 1_000_000: 1})
def test_a_body_is_frozen_or_refused_and_nothing_else(kind: str, body: Any) -> None:
    try:
        frozen = freeze(kind, body)
    except InvalidGeneration as error:
        refusal = error
    else:
        assert ParseDict(json.loads(json.dumps(MessageToDict(frozen))), type(frozen)()) == frozen
        return
    assert refusal.error.error_class is ErrorClass.INVALID
    assert all(violation.field in {"body", *FIELDS} for violation in refusal.violations)
    assert 0 < len(refusal.error.message.encode()) < 5000


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("prompt", "a\0b", "prompt must not contain U+0000"),
        ("prompt", "\ud800", "prompt must be valid Unicode text"),
        ("prompt", True, "prompt must be a string"),
        ("prompt", float("nan"), "prompt must be a string"),
        ("prompt", {"deep": [1]}, "prompt must be a string"),
        ("sceneId", 10**399, "sceneId must be 1 to 128 of"),
        ("sceneId", float("inf"), "sceneId must be a string"),
        ("durationSeconds", 10**399, "durationSeconds must be one of"),
        ("durationSeconds", 1e300, "durationSeconds must be one of"),
        (
            "sourceImageUrl",
            "https://user:word@example.com/x",
            "sourceImageUrl must not contain a user name or password",
        ),
        ("sourceImageUrl", "https://example.com:99999/x", "sourceImageUrl is not a valid URL"),
        ("sourceImageUrl", "https://example.com:0/x", "sourceImageUrl must have a port from 1 to 65535"),
        ("sourceImageUrl", "http://[::1/x", "sourceImageUrl is not a valid URL"),
        ("sourceImageUrl", "http://[fe80::1%25eth0]/x", "sourceImageUrl must have a valid host name"),
        ("sourceImageUrl", "https://xn--a/x", "sourceImageUrl must have a valid host name"),
        ("sourceImageUrl", "https://exa\u3000mple.com/x", "sourceImageUrl must be an http or https URL"),
        ("sourceImageUrl", f"https://{'a' * 64}.example/x", "sourceImageUrl must have a valid host name"),
        ("sourceImageUrl", "https:///x", "sourceImageUrl must have a valid host name"),
    ],
)
def test_the_field_and_its_rule_are_named_once(field: str, value: object, rule: str) -> None:
    with pytest.raises(InvalidGeneration) as caught:
        freeze("video", GOOD | {field: value})
    (violation,) = caught.value.violations
    assert caught.value.error.message.startswith(rule)
    assert violation.field == field


@pytest.mark.parametrize(
    "host", ["xn--bcher-kva.example", "bücher.example", "127.0.0.1", "[::1]", "kong:8000", "a_b.example."]
)
def test_hosts_that_only_a_fetch_can_judge_pass(host: str) -> None:
    assert freeze("image", GOOD | {"sourceImageUrl": f"https://{host}/x"})


UNREADABLE = (
    "body must be at most 1048576 bytes, nested at most 64 levels deep,"
    " and hold no number of more than 40 digits before or after the point"
)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, UNREADABLE),
        ("9" * 5000, "body must not contain a number of more than 400 digits"),
        ('{"prompt": 1e100000}', "body must not contain a number as large as 1e100000"),
        ("[" * 5000 + "]" * 5000, "body must be nested at most 64 levels deep"),
        (json.dumps({"prompt": "x" * 20_000_000}), "body must be at most 1048576 bytes"),
        ('{"prompt": "a", "prompt": "b"}', "body must not repeat the key 'prompt' twice"),
        ("{", "body must be JSON"),
    ],
)
def test_a_poison_body_is_refused_for_good(text: str | None, rule: str) -> None:
    with pytest.raises(InvalidGeneration) as caught:
        parse_body(text)
    assert caught.value.error.error_class is ErrorClass.INVALID
    assert caught.value.error.message == rule


def test_a_good_body_is_its_value() -> None:
    assert parse_body(json.dumps(GOOD)) == GOOD
    assert parse_body("[1, 2]") == [1, 2]
