"""``parse_job``: every refusal of the contract to the letter, and nothing but a Job or InvalidJob."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import InvalidJob
from worker.job.job import Job
from worker.job.parse import parse_job

GRAPH: dict[str, Any] = {"1": {"class_type": "EmptyImage", "inputs": {}}}
IMAGES_TEXT = "'images' must be a list of objects with 'name' and 'image' keys"


def refusal(job_input: object) -> str:
    """The text with which ``job_input`` is refused."""
    with pytest.raises(InvalidJob) as caught:
        parse_job({"id": "a", "input": job_input})
    assert caught.value.answer()["error_type"] == "invalid_input"
    return str(caught.value)


@pytest.mark.parametrize(
    ("job_input", "text"),
    [
        (None, "Please provide input"),
        ("{not json", "Invalid JSON format in input"),
        ("", "Invalid JSON format in input"),
        ("[" * 100_000, "Invalid JSON format in input"),
        ('{"a": ' + "9" * 5000 + "}", "Invalid JSON format in input"),
        ({}, "Missing 'workflow' parameter"),
        ('{"images": []}', "Missing 'workflow' parameter"),
        ({"workflow": GRAPH, "images": "x"}, IMAGES_TEXT),
        ({"workflow": GRAPH, "images": {"name": "a", "image": "b"}}, IMAGES_TEXT),
        ({"workflow": GRAPH, "images": [{"name": "a.png"}]}, IMAGES_TEXT),
        ({"workflow": GRAPH, "images": [{"image": "QUJD"}]}, IMAGES_TEXT),
        ({"workflow": GRAPH, "images": [1]}, IMAGES_TEXT),
        ({"workflow": GRAPH, "images": [{"name": 1, "image": "QUJD"}]}, IMAGES_TEXT),
        ({"workflow": GRAPH, "images": [{"name": "a.png", "image": None}]}, IMAGES_TEXT),
    ],
)
def test_known_refusals_to_the_letter(job_input: object, text: str) -> None:
    assert refusal(job_input) == text


@pytest.mark.parametrize("job_input", [[], [1], 7, 1.5, True, "null", "[]", "3", '"text"'])
def test_an_input_that_is_no_object_is_named(job_input: object) -> None:
    assert refusal(job_input).startswith("'input' must be an object with a 'workflow', not ")


@pytest.mark.parametrize(
    ("workflow", "text"),
    [
        ([], "'workflow' must be an object of nodes in ComfyUI's API format, not a list"),
        ("", "'workflow' is empty: it takes a graph, or the name of a workflow"),
        ("x" * 251, "'workflow': a name has up to 250 characters, not 251"),
        (7, "'workflow' must be an object of nodes in ComfyUI's API format, not a number"),
        ({}, "'workflow' has no nodes"),
        ({"1": 5}, "'workflow': node '1' must be an object with 'class_type' (a string) and 'inputs' (an object)"),
        ({"1": {"inputs": {}}}, "'workflow': node '1' must be an object with 'class_type'"),
        ({"1": {"class_type": 5, "inputs": {}}}, "'workflow': node '1' must be an object with 'class_type'"),
        ({"1": {"class_type": "A", "inputs": []}}, "'workflow': node '1' must be an object with 'class_type'"),
        ({1: {"class_type": "A", "inputs": {}}}, "'workflow': node id 1 must be a string"),
        ({"1": {"class_type": "A", "inputs": {"a": json.loads("[" * 200 + "]" * 200)}}}, "nested more than 100 levels"),
        ({"nodes": [], "links": []}, "'workflow' has no nodes"),
    ],
)
def test_a_workflow_that_is_no_graph_is_refused(workflow: object, text: str) -> None:
    assert text in refusal({"workflow": workflow})


@pytest.mark.parametrize(
    "name",
    [
        "", "/etc/x.png", "../x.png", "a/../../x.png", "a/..", "C:\\x.png", "c:x.png", "\\\\host\\x.png",
        "..\\x.png", "x\0.png", "x\n.png", "\x7f.png", "\udc80.png", ".", "a//b.png", "a/", "x.png [output]",
        "x.png[temp]", "a" * 300, "a/" * 600 + "x",
    ],
)  # fmt: skip
def test_unsafe_names_are_refused(name: str) -> None:
    text = refusal({"workflow": GRAPH, "images": [{"name": name, "image": "QUJD"}]})
    assert text.startswith("'images': the name ")
    text.encode()


def test_a_name_used_twice_is_refused() -> None:
    images = [{"name": "a.png", "image": "QUJD"}, {"name": "a.png", "image": "QUJE"}]
    assert refusal({"workflow": GRAPH, "images": images}) == "'images': the name 'a.png' is used twice"


@pytest.mark.parametrize(
    "name", ["a.png", "sub/a.png", "ünï.png", "a b.png", "..a.png", "a..png", ".hidden", "a[1].png"]
)
def test_harmless_names_are_taken(name: str) -> None:
    job = parse_job({"input": {"workflow": GRAPH, "images": [{"name": name, "image": "QUJD"}]}})
    assert [image.name for image in job.images] == [name]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("XL\\a.png", "XL/a.png"),
        ("e\u0301.png", "é.png"),
        ("a.png [input]", "a.png"),
        ("b\\e\u0301.png[input] ", "b/é.png"),
    ],
)
def test_a_name_in_another_spelling_is_the_usual_one(sent: str, name: str) -> None:
    job = parse_job({"input": {"workflow": GRAPH, "images": [{"name": sent, "image": "QUJD"}]}})
    assert [image.name for image in job.images] == [name]
    twice = [{"name": each, "image": "QUJD"} for each in (name, sent)]
    assert "is used twice" in refusal({"workflow": GRAPH, "images": twice})


def test_a_name_with_another_folder_says_what_to_do() -> None:
    text = refusal({"workflow": GRAPH, "images": [{"name": "a.png [output]", "image": "QUJD"}]})
    assert text == (
        "'images': the name 'a.png [output]' must not end with [output]: files of a job are inputs. "
        "Name it 'a.png', in the workflow as well"
    )


def test_a_job_is_read_whole() -> None:
    images = [{"name": "a.png", "image": "QUJD", "other": 1}]
    job = parse_job(
        {"id": "sync-1", "input": json.dumps({"workflow": GRAPH, "images": images, "new_field": 1}), "webhook": "x"}
    )
    assert (job.id, job.workflow, job.api_key) == ("sync-1", GRAPH, None)
    assert [(image.name, image.data) for image in job.images] == [("a.png", "QUJD")]


@pytest.mark.parametrize("field", ["comfy_org_api_key", "api_key_comfy_org"])
def test_the_api_key_has_two_names(field: str) -> None:
    assert parse_job({"input": {"workflow": GRAPH, field: "k"}}).api_key == "k"
    assert "must be a string" in refusal({"workflow": GRAPH, field: 5})


def test_a_key_and_files_do_not_show_in_a_job_s_repr() -> None:
    images = [{"name": "a.png", "image": "QUJD"}]
    job = parse_job({"input": {"workflow": GRAPH, "images": images, "comfy_org_api_key": "secret-key"}})
    assert "secret-key" not in repr(job)
    assert "QUJD" not in repr(job)


@pytest.mark.parametrize("raw", [None, 5, "x", [], b""])
def test_a_job_that_is_no_object_is_refused(raw: object) -> None:
    with pytest.raises(InvalidJob):
        parse_job(raw)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
ANYTHING = st.recursive(
    SCALARS | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
    max_leaves=20,
)
NODE = st.fixed_dictionaries({"class_type": st.text(max_size=5) | ANYTHING, "inputs": ANYTHING})
IMAGE = st.fixed_dictionaries({"name": st.text(st.characters(), max_size=12) | ANYTHING, "image": ANYTHING})
NEARLY = st.fixed_dictionaries(
    {"workflow": st.dictionaries(st.text(max_size=3), NODE | ANYTHING, max_size=4) | ANYTHING},
    optional={
        "images": st.lists(IMAGE | ANYTHING, max_size=4) | ANYTHING,
        "comfy_org_api_key": ANYTHING,
        "api_key_comfy_org": ANYTHING,
    },
)


@pytest.mark.parametrize("examples", [250, pytest.param(5000, marks=pytest.mark.full)])
def test_nonsense_gives_a_job_or_invalid_job(examples: int) -> None:
    jobs = st.fixed_dictionaries({"id": ANYTHING, "input": NEARLY | ANYTHING | st.text()}) | ANYTHING
    settings(max_examples=examples, deadline=None)(given(jobs)(check_a_job))()


def check_a_job(raw: object) -> None:
    """See that ``raw`` is parsed, or refused in a short line."""
    outcome: Job | InvalidJob
    try:
        outcome = parse_job(raw)
    except InvalidJob as error:
        outcome = error
    if isinstance(outcome, Job):
        assert outcome.workflow or outcome.name
        return
    json.dumps(outcome.answer()).encode()
    assert "\n" not in str(outcome)
    assert len(str(outcome)) < 300
