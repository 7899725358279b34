"""Nodes that interpret a caller's text: they reach no live object, and they end."""

from __future__ import annotations

import importlib
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.answer.result import Result
from worker.embedded.guards import patterns
from worker.embedded.guards.expressions import ExpressionRefused, evaluate_expression
from worker.embedded.guards.prompts import PromptRefused
from worker.embedded.guards.texts import CallersText, FormatRefused


def has(worker: Worker, *classes: str) -> None:
    """Skip the test where this version of ComfyUI lacks a class."""
    assert worker.runtime is not None
    missing = [name for name in classes if not worker.runtime.has_node_class(name)]
    if missing:
        pytest.skip(f"this version of ComfyUI has no {', '.join(missing)}")


def run(worker: Worker, node: dict[str, Any], others: dict[str, Any] | None = None) -> Result:
    """A run that shows the first output of ``node``, which is node 2."""
    return worker.run({"2": node, "3": graphs.node("PreviewAny", source=["2", 0]), **(others or {})})


def through_switch(source: str, index: int = 0) -> dict[str, Any]:
    """A node that hands on any object."""
    return graphs.node("ComfySwitchNode", switch=True, on_true=[source, index], on_false=[source, index])


def test_an_expression_reaches_no_object_that_comes_through_a_link_of_any_type(worker: Worker, tmp_path: Path) -> None:
    has(worker, "ComfyMathExpression", "ComfySwitchNode")
    written = tmp_path / "written"
    image = graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=0)
    for text in (f"(a*255).byte().numpy().tofile('{written}') or 1", "a", "len(a)", "1 if a is None else 2"):
        expression = graphs.node("ComfyMathExpression", expression=text, **{"values.a": ["10", 0]})
        (error,) = run(worker, expression, {"1": image, "10": through_switch("1")}).errors
        assert "Input 'values.a' takes FLOAT,INT,BOOLEAN, but a Tensor arrived" in error
    assert not written.exists()


def test_an_expression_calculates_as_before(worker: Worker) -> None:
    has(worker, "ComfyMathExpression")
    for text, result in (("a + b", "7.0"), ("max(values) * 2 if a > 1 else 0", "8.0"), ("round(a / b, 2)", "0.75")):
        values = {"values.a": 3, "values.b": 4}
        assert run(worker, graphs.node("ComfyMathExpression", expression=text, **values)).text == [result]


def test_an_expression_of_a_node_has_no_methods(worker: Worker) -> None:
    has(worker, "ComfyMathExpression")
    for text in ("a.real", "a.bit_length()", "'x'.upper()"):
        (error,) = run(worker, graphs.node("ComfyMathExpression", expression=text, **{"values.a": 3})).errors
        assert "Attribute" in error or "methods" in error


@pytest.mark.parametrize(
    "text",
    [
        "a.real", "(1).real", "'x'.upper()", "values.append(1)", "f'{a}'", "[1][0]", "(lambda: 1)()", "sum.__globals__",
        "2 ** 2 ** 2 ** 2 ** 2 ** 2", "pow(pow(9, 4000), 4000)", "1 << 10000000", "round(5, -1000000000)", "'a' * 10",
        "[x for x in values]", "__import__('os')", "'%99999d' % 1", "max(values, key=abs)", "(x := 1)", "a" * 20_000,
        "min(**values)", "abs(sum)", "9" + " * 9 ** 4000" * 200,
    ],
)  # fmt: skip
def test_an_expression_has_numbers_and_nothing_else(text: str) -> None:
    functions: dict[str, Any] = {"sum": sum, "max": max, "min": min, "round": round, "pow": pow, "abs": abs}
    with pytest.raises((ExpressionRefused, TypeError)):
        evaluate_expression(text, names={"a": 1, "values": [1, 2]}, functions=functions)


def test_a_format_reaches_no_object_that_comes_through_a_link_of_any_type(worker: Worker) -> None:
    has(worker, "StringFormat")
    sampler = graphs.node("KSamplerSelect", sampler_name="euler")
    for text in ("{a.__init__.__globals__[logging].os.environ}", "{a}", "{a!r:.9}", "{b:{a}}"):
        formatting = graphs.node("StringFormat", f_string=text, **{"values.a": ["1", 0], "values.b": 1})
        result = run(worker, formatting, {"1": sampler})
        assert re.search(r"without \. and|a KSAMPLER arrived", result.errors[0]), result.errors
        assert not result.text


def test_a_format_formats_as_before(worker: Worker) -> None:
    has(worker, "StringFormat")
    for text, result in (("{a} and {b:>5}", "x and     7"), ("{{{b:03d}}}", "{007}"), ("{a!r:{b}}|", "'x'    |")):
        formatting = graphs.node("StringFormat", f_string=text, **{"values.a": "x", "values.b": 7})
        assert run(worker, formatting).text == [result]


@pytest.mark.parametrize(
    "text", ["{a.real}", "{a[0]}", "{b:99999}", "{b:{c}}", "{a.__class__}", "{b:.99999f}", "{d}", "{0.real}", "%99999d"]
)
def test_a_format_has_texts_and_numbers_and_nothing_else(text: str) -> None:
    with pytest.raises((FormatRefused, IndexError)):
        if text.startswith("%"):
            CallersText(text) % 1
        else:
            CallersText(text).format(a="x", b=1, c=10**9, d=os)


def test_a_long_format_is_refused_before_the_memory_is_taken() -> None:
    with pytest.raises(FormatRefused, match="more than 10,000,000 characters"):
        CallersText("{a}" * 100_000).format(a="x" * 10_000)


@pytest.mark.timeout(60)  # Without its bound, the node counts for days, and cannot be interrupted.
@pytest.mark.parametrize("count", [2**31, 2**62])
def test_a_number_far_beyond_an_input_cannot_arrive(worker: Worker, count: int) -> None:
    graph = {
        "1": graphs.node("PrimitiveInt", value=count),
        "2": graphs.node(
            "CreateHookKeyframesInterpolated", strength_start=0.0, strength_end=1.0, interpolation="linear",
            start_percent=0.0, end_percent=1.0, keyframes_count=["1", 0], print_keyframes=False,
        ),
        "3": graphs.node("PreviewAny", source=["2", 0]),
    }  # fmt: skip
    errors = worker.run(graph).errors
    assert "Input 'keyframes_count' takes numbers up to 100, but" in errors[0]
    graph["1"]["inputs"]["value"] = 120  # A little more than it declares is what some workflows want.
    assert not worker.run(graph).errors


def test_an_object_cannot_arrive_where_a_core_node_takes_a_text(worker: Worker) -> None:
    has(worker, "ComfySwitchNode", "StringConcatenate")
    sampler = graphs.node("KSamplerSelect", sampler_name="euler")
    joined = graphs.node("StringConcatenate", string_a=["10", 0], string_b="b", delimiter="")
    (error,) = run(worker, joined, {"1": sampler, "10": through_switch("1")}).errors
    assert "Input 'string_a' takes STRING, but a KSAMPLER arrived" in error


class Ticks:
    """How long another thread of this process could not run, at worst."""

    def __enter__(self) -> Ticks:
        self.worst = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _tick(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(0.02):
            now = time.monotonic()
            self.worst, last = max(self.worst, now - last), now


REGEX: dict[str, Any] = {"case_insensitive": False, "multiline": False, "dotall": False}
REGEX_NODES: dict[str, dict[str, Any]] = {
    "RegexMatch": REGEX,
    "RegexExtract": {**REGEX, "mode": "All Groups", "group_index": 1},
    "RegexReplace": {**REGEX, "replace": "x", "count": 0},
}


@pytest.mark.parametrize("class_type", REGEX_NODES)
@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 60 + "b"),
        ("(a|aa)+$", "a" * 80 + "b"),
        ("(x+x+)+y", "x" * 60),
        ("((((((a?){99}){99}){99}){99}){99}){99}", ""),
        ("(.*?,){25}P", "1," * 60),
    ],
    ids=["nested", "alternatives", "twice", "counted", "lazy"],
)
def test_a_regular_expression_ends_and_holds_nothing_up(
    worker: Worker, class_type: str, pattern: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 1.0)
    node = graphs.node(class_type, string=text, regex_pattern=pattern, **REGEX_NODES[class_type])
    begun = time.monotonic()
    with Ticks() as ticks:
        run(worker, node)
    assert time.monotonic() - begun < 10
    assert ticks.worst < 2


def test_a_regular_expression_that_takes_too_long_says_so(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.5)
    node = graphs.node("RegexMatch", string="a" * 80 + "b", regex_pattern="(a|aa)+$", **REGEX)
    (error,) = run(worker, node).errors
    assert "The regular expression takes more than 0.5 s on this text" in error


def test_regular_expressions_work_as_before(worker: Worker) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("RegexMatch", {}, "true"),
        ("RegexExtract", {}, "b\nc"),
        ("RegexReplace", {"replace": r"<\1>"}, "a<b>{a<c>"),
        ("RegexReplace", {"regex_pattern": "{", "replace": ""}, "abac"),
        ("RegexExtract", {"regex_pattern": "(", "mode": "First Match"}, ""),
    ]
    for class_type, more, result in cases:
        values = {"string": "ab{ac", "regex_pattern": r"(?<=a)([b-z])", **REGEX_NODES[class_type], **more}
        assert run(worker, graphs.node(class_type, **values)).text[0].lower() == result


def test_a_pattern_of_a_nodes_own_ends_on_any_text(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 1.0)
    has(worker, "ManualSigmas")
    with Ticks() as ticks:
        (error,) = run(worker, graphs.node("ManualSigmas", sigmas="." * 300_000)).errors
    assert "The regular expression takes more than 1 s" in error
    assert ticks.worst < 1


PATTERNS = [
    r"a{e<=1}", "[[:alpha:]]", "b{}", "b{,}", "b{,2}", "[[a]", "[]a]+", "[^]a]+", r"[\]\[]", r"\w+", "(?i)STRASSE",
    r"\N{LATIN SMALL LETTER E WITH ACUTE}", "(?#{[)a", "[a{2}]", r"\{", "a++b", "(?>a+)b", r"(?P<x>a)(?P=x)",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Possible nested set")
def test_patterns_mean_the_same_as_before() -> None:
    """Patterns that the package ``regex`` reads in another way than ``re`` are translated."""
    bounded = patterns.BoundedRe()
    texts = ["a{e<=1}b", "[[:alpha:]]", "ab{}{,}", "a]b[c", "aab-", "Straße é 1٣", ""]
    for pattern in PATTERNS:
        for text in texts:
            assert bounded.findall(pattern, text) == re.findall(pattern, text), (pattern, text)
            assert bounded.sub(pattern, r"<\g<0>>", text) == re.sub(pattern, r"<\g<0>>", text), (pattern, text)
            assert bounded.split(pattern, text) == re.split(pattern, text), (pattern, text)


@pytest.mark.parametrize("pattern", [r"\p{L}", r"(?R)", "(?|a|b)", "(", r"\K", "a**", "(?<n>a)"])
def test_what_was_no_pattern_is_none(pattern: str) -> None:
    bounded = patterns.BoundedRe()
    with pytest.raises(bounded.error):
        bounded.search(pattern, "a")


def test_the_parentheses_of_a_long_prompt_are_bounded(worker: Worker) -> None:
    """ComfyUI would read this prompt for minutes, and no interrupt would have an effect."""
    token_weights = importlib.import_module("comfy.sd1_clip").token_weights
    begun = time.monotonic()
    with pytest.raises(PromptRefused, match="900 pairs of parentheses"):
        token_weights("(" * 900 + "a" * 1_000_000 + ")" * 900, 1.0)
    assert time.monotonic() - begun < 5


def test_the_weights_of_a_prompt_are_as_before(worker: Worker) -> None:
    token_weights = importlib.import_module("comfy.sd1_clip").token_weights
    assert token_weights("a (b:1.5) ((c))", 1.0) == [("a ", 1.0), ("b", 1.5), (" ", 1.0), ("c", pytest.approx(1.21))]
    assert token_weights("(a:2) " * 5_000, 1.0)[0] == ("a", 2.0)
    assert token_weights("(" * 40 + "a" * 20_000 + ")" * 40, 1.0)[0][1] == pytest.approx(1.1**40)
