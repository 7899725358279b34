"""Answers as they are sent: one piece of JSON, whatever is in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.answer.reply import Reply, encode
from worker.errors import AnswerTooLarge


def read(content: bytes | bytearray) -> Any:
    """Strict JSON: no NaN, no lone surrogate."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    value = json.loads(content.decode(), parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def test_the_error_stands_apart() -> None:
    reply = encode({"error": "it failed", "details": ["a"]})
    assert reply == Reply(b'{"details":["a"]}', "it failed")
    assert read(reply.body(stopPod=True)) == {"stopPod": True, "error": "it failed", "output": {"details": ["a"]}}
    assert read(encode({"error": "x"}).body()) == {"error": "x"}
    assert read(encode({}).body()) == {"output": {}}


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (float("nan"), None),
        ([float("inf"), 1.5], [None, 1.5]),
        (b"\x00\xff", "AP8="),
        ("lone \ud800", "lone \\ud800"),
        ({"\udfff": 1, 2: (3, 4)}, {"\\udfff": 1, "2": [3, 4]}),
        (object, "<class 'object'>"),
        ("naïve 😀", "naïve 😀"),
    ],
)
def test_what_json_cannot_hold_comes_as_near_as_it_can(value: object, sent: object) -> None:
    assert read(encode({"value": value}).output) == {"value": sent}


def test_files_are_where_they_belong() -> None:
    entries = [{"filename": f"{index}", "type": "base64", "data": "QUJD" * index} for index in range(4)]
    odd = {"type": "base64", "data": 'not "base64" \\ at all\n'}
    answer = {"images": [*entries, odd, 5], "files": list(reversed(entries)), "text": [{"type": "base64", "data": "x"}]}
    assert read(encode(answer).output) == answer


def test_a_circle_ends() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    assert "…" in encode({"value": circle}).output.decode()


def test_a_lone_surrogate_in_the_error() -> None:
    assert read(encode({"error": "node \ud800"}).body()) == {"error": "node \\ud800"}


def test_the_limit_is_of_bytes_not_of_characters() -> None:
    answer = {"text": "ü" * 500_000}
    assert encode(answer, 1.1).error is None
    with pytest.raises(AnswerTooLarge) as caught:
        encode(answer, 1.0)
    assert str(caught.value).startswith("The answer has 1.0 MB and may have 1 MB")
    assert read(encode(caught.value.answer()).output) == {"error_type": "answer_too_large"}


@settings(suppress_health_check=[HealthCheck.too_slow])  # It is slow where other tests keep the machine busy.
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
))  # fmt: skip
def test_anything_can_be_sent(value: object) -> None:
    body = read(encode({"value": value}).body(id="x"))
    assert (body["id"], set(body["output"])) == ("x", {"value"})
