"""JSON of others: every text is read or refused by a rule that is named."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superstoryboard.foreign_json import MAX_BYTES, MAX_DEPTH, ForeignJsonError, decoded_json, parse_json

NUMBERS = st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(VALUES)
def test_what_python_writes_is_read_as_it_was(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@given(st.text(alphabet='{}[]":,0123456789eE+-.\\u truefalsn\x00\ud800', max_size=300) | st.binary(max_size=300))
def test_any_other_text_is_read_or_refused(text: str | bytes) -> None:
    try:
        value = parse_json(text)
    except ForeignJsonError as error:
        rule = str(error)
    else:
        assert json.loads(json.dumps(value)) == value
        return
    assert rule.startswith("must ")
    assert decoded_json(text) is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("9" * 5000, "must not contain a number of more than 400 digits", id="5000-digits"),
        pytest.param("[0." + "9" * 5000 + "]", "must not contain a number of more than 400 digits", id="decimals"),
        pytest.param("1" + "0" * 100_000, "must not contain a number of more than 400 digits", id="1e100000-by-jsonb"),
        pytest.param('{"a": 1e100000}', "must not contain a number as large as 1e100000", id="1e100000"),
        pytest.param("-1e400", "must not contain a number as large as -1e400", id="1e400"),
        pytest.param("[" * 5000 + "]" * 5000, f"must be nested at most {MAX_DEPTH} levels deep", id="arrays"),
        pytest.param('{"a":' * 5000 + "1" + "}" * 5000, f"must be nested at most {MAX_DEPTH} levels", id="objects"),
        pytest.param("[" * 65 + "]" * 65, f"must be nested at most {MAX_DEPTH} levels deep", id="one-too-deep"),
        pytest.param("[" * 500_000, f"must be nested at most {MAX_DEPTH} levels deep", id="never-closed"),
        pytest.param('"' + "x" * 20_000_000 + '"', f"must be at most {MAX_BYTES} bytes", id="20-megabytes"),
        pytest.param('"' + "é" * (MAX_BYTES // 2) + '"', f"must be at most {MAX_BYTES} bytes", id="bytes-count"),
        pytest.param("NaN", "must be JSON, which has no NaN", id="nan"),
        pytest.param("[-Infinity]", "must be JSON, which has no -Infinity", id="infinity"),
        pytest.param('{"a": 1, "b": 2, "a": 3}', "must not repeat the key 'a' twice", id="twice"),
        pytest.param('{"' + "k" * 200_000 + '": 1, "' + "k" * 200_000 + '": 2}', "must not repeat the key", id="long"),
        pytest.param("", "must be JSON", id="nothing"),
        pytest.param("{} x", "must be JSON", id="more"),
        pytest.param('"\ud800"', "must be valid UTF-8", id="lone-surrogate"),
        pytest.param(b"\xff\xfe", "must be valid UTF-8", id="other-bytes"),
    ],
)
def test_each_rule_is_named_in_few_words(text: str | bytes, rule: str) -> None:
    with pytest.raises(ForeignJsonError) as caught:
        parse_json(text)
    assert str(caught.value).startswith(rule)
    assert len(str(caught.value)) < 200


def test_what_is_just_allowed_is_read() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert parse_json("9" * 400) == 10**400 - 1
    assert len(parse_json('"' + "x" * (MAX_BYTES - 2) + '"')) == MAX_BYTES - 2
    assert math.isclose(parse_json("1e308"), 1e308)
