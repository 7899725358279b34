"""The OpenAPI document tells what is really sent, and takes the requests that the parser takes."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import graphs
import pytest
import requests
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from local_api import get, post, request, serving, sleeping, until
from pydantic import SecretStr
from s3_server import KEYS, s3_server

from worker import Worker
from worker.bucket.bucket import Bucket, job_bucket
from worker.errors import ErrorType, InvalidJob
from worker.handler import make_handler
from worker.job.job import Job
from worker.job.parse import LONGEST_S, parse_job
from worker.local_api.answers import ERROR_TYPES

GRAPH = graphs.solid()
Check = Callable[[str, Any], Any]


def closed(schema: Any) -> Any:
    """``schema`` with no place for a field that it does not name."""
    if isinstance(schema, dict):
        more = {"additionalProperties": False} if "properties" in schema else {}
        return more | {key: closed(inner) for key, inner in schema.items()}
    return [closed(inner) for inner in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def url(worker: Worker) -> Iterator[str]:
    """The address of a local API, whose answers have all metrics that there are."""
    with serving(worker, report_metrics="full", gpu_price_per_hour=2.69) as address:
        yield address


@pytest.fixture(scope="module")
def check(project: Path) -> Check:
    """Holds an answer against one of the published schemas, in which everything must be named; gives the answer."""
    components = closed(json.loads((project / "docs" / "openapi.json").read_text())["components"])

    def check(name: str, answer: Any) -> Any:
        validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})
        problems = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(answer)]
        assert not problems, problems
        return answer

    return check


@pytest.fixture(scope="module")
def handle(worker: Worker, check: Check) -> Callable[[Any], dict[str, Any]]:
    """Gives an input to the handler itself; its answer is an ``Answer``, or a ``Failure`` with its ``error``."""

    def ask(job_input: Any) -> dict[str, Any]:
        answer = asyncio.run(make_handler(worker)({"id": "job-1", "input": job_input}))
        if "error" in answer:
            rest = {key: value for key, value in answer.items() if key != "error"}
            check("JobStatus", {"id": "job-1", "status": "FAILED", "error": answer["error"], "output": rest})
        else:
            check("Answer", answer)
        return answer

    return ask


OUTCOMES: dict[str, tuple[Any, set[str]]] = {
    "picture": ({"workflow": GRAPH}, {"images"}),
    "webp": ({"workflow": GRAPH, "output_format": "webp", "output_quality": 80}, {"images"}),
    "files and text": (
        {
            "workflow": {
                "1": graphs.node("TestSavesFile", key="gifs", subfolder="v", filename="a.mp4", content="movie"),
                "2": graphs.node("TestShowsText", text="hello"),
            }
        },
        {"images", "files", "text", "status"},
    ),
    "errors beside images": (
        {"workflow": GRAPH | {"7": graphs.node("SaveImage", filename_prefix="lost")}},
        {"images", "errors"},
    ),
    "no images": (
        {"workflow": {"1": GRAPH["1"], "3": graphs.node("PreviewImage", images=["1", 0])}},
        {"images", "status"},
    ),
    "invalid input": ({}, {"error_type"}),
    "JSON in a string": (json.dumps({"workflow": []}), {"error_type"}),
    "refused graph": ({"workflow": {"1": graphs.node("Nope")}}, {"error_type"}),
    "refused image": (
        {"workflow": graphs.load("a.png"), "images": [{"name": "a.png", "image": "%"}]},
        {"error_type", "details"},
    ),
    "failed node": ({"workflow": graphs.through("TestRaises")}, {"error_type", "details"}),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome(url: str, check: Check, handle: Callable[[Any], dict[str, Any]], outcome: str) -> None:
    job_input, keys = OUTCOMES[outcome]
    ended = check("JobStatus", post(f"{url}/runsync", {"input": job_input}))
    assert set(ended["output"]) == keys | {"metrics"}
    assert ended["status"] == ("FAILED" if "error_type" in keys else "COMPLETED")
    answer = handle(job_input)
    assert set(answer) - {"error"} == keys | {"metrics"}
    assert answer.get("error") == ended.get("error")
    check("JobStatus", get(f"{url}/status/{ended['id']}"))
    check("Stream", get(f"{url}/stream/{ended['id']}"))


def test_urls_of_a_bucket(worker: Worker, check: Check) -> None:
    keys = {
        "bucket_access_key_id": SecretStr(KEYS["aws_access_key_id"]),
        "bucket_secret_access_key": SecretStr(KEYS["aws_secret_access_key"]),
    }
    with s3_server() as s3, serving(worker, bucket_endpoint_url=f"{s3}/pictures", **keys) as url:
        ended = check("JobStatus", post(f"{url}/runsync", request(GRAPH)))
    assert [image["type"] for image in ended["output"]["images"]] == ["s3_url"]


def test_the_life_of_a_job(url: str, check: Check) -> None:
    running = check("Queued", post(f"{url}/run", request(sleeping())))["id"]
    waiting = post(f"{url}/run", request(sleeping()))["id"]
    until(url, running, "IN_PROGRESS")
    end = time.monotonic() + 20
    while "output" not in (seen := check("JobStatus", get(f"{url}/status/{running}"))):
        assert time.monotonic() < end
        time.sleep(0.02)
    check("Progress", seen["output"])
    check("JobStatus", get(f"{url}/status/{waiting}"))
    check("Stream", get(f"{url}/stream/{running}"))
    check("Health", get(f"{url}/health"))
    assert check("Purged", post(f"{url}/purge-queue"))["removed"] == 1
    assert check("Cancelled", post(f"{url}/cancel/{running}"))["status"] == "CANCELLED"
    for job_id in (running, waiting):
        assert check("JobStatus", get(f"{url}/status/{job_id}"))["status"] == "CANCELLED"


def test_a_job_whose_time_is_up(url: str, check: Check) -> None:
    ended = check("JobStatus", post(f"{url}/runsync", request(sleeping(), policy={"executionTimeout": 5000})))
    assert (ended["status"], ended["output"]) == ("TIMED_OUT", {"error_type": "timeout"})


@pytest.mark.parametrize(("method", "path"), [("POST", "/run"), ("GET", "/status/none"), ("GET", "/nowhere")])
def test_what_is_no_job(url: str, check: Check, method: str, path: str) -> None:
    answer = requests.request(method, url + path, data=b"{", timeout=10)
    assert answer.status_code >= 400
    check("Error", answer.json())


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "a", "status": "DONE"},
        {"id": "a", "status": "FAILED", "error": None},
        {"id": "a", "status": "FAILED", "output": {"error_type": "unknown"}},
        {"id": "a", "status": "COMPLETED", "output": {"images": [{"filename": "a.png", "type": "base64"}]}},
        {"id": "a", "status": "COMPLETED", "output": {"images": [], "status": "fine"}},
        {"id": "a", "status": "COMPLETED", "output": {}, "more": 1},
    ],
)
def test_the_schema_takes_nothing_else(check: Check, wrong: Any) -> None:
    with pytest.raises(AssertionError):
        check("JobStatus", wrong)


def test_every_kind_of_error_is_told(check: Check) -> None:
    assert set(ERROR_TYPES) == set(get_args(ErrorType))
    for kind in ERROR_TYPES:
        check("Failure", {"error_type": kind})


def test_the_published_document_is_the_served_one(url: str, project: Path) -> None:
    assert get(f"{url}/openapi.json") == json.loads((project / "docs" / "openapi.json").read_text())


IMAGE = {"name": "a.png", "image": ""}


def varied(field: str, *values: Any) -> list[Any]:
    """Inputs that differ in one field."""
    return [{"workflow": GRAPH, field: value} for value in values]


INPUTS = [
    *(None, [], 1, {}),
    *varied("workflow", "", "x" * 250, "x" * 251),
    *varied("set", None, {}, [], "x", {"3.seed": [1, {}]}, {"3": 1}, {"3.": 1}, {".seed": 1}, {"a.b.c": None}),
    *varied("set", {f"{number}.a": 1 for number in range(1001)}, {"a" * 499 + ".b": 1}, {"a\n.b": 1}),
    *varied("workflow", None, [], {}, "x", {"1": None}, {"1": []}, {"1": {}}),
    *varied("workflow", {"1": {"class_type": "A"}}, {"1": {"inputs": {}}}, {"1": {"class_type": 1, "inputs": {}}}),
    *varied("workflow", {"1": {"class_type": "A", "inputs": []}}, {"1": {"class_type": "A", "inputs": None}}),
    *varied("workflow", {"1": {"class_type": "A", "inputs": {"a": [1, {}]}, "_meta": {"title": "b"}}}),
    *varied("images", None, [], [IMAGE], {}, "x", [1], [{}], [{"name": "a"}], [{"image": "a"}]),
    *varied("images", [IMAGE | {"image": None}], [IMAGE | {"name": 1}], [IMAGE | {"more": 1}]),
    *varied("output_format", None, "png", "webp", "jpeg", "gif", "", 1),
    *varied("output_quality", None, 1, 100, 0, 101, "90", 1.5, True),
    *varied("comfy_org_api_key", None, "", "sk", 1, {}),
    *varied("api_key_comfy_org", None, "", "sk", 1, {}),
    *varied("unknown", {"field": 1}),
]


@pytest.fixture(scope="module")
def fits(project: Path) -> Callable[[str, Any], bool]:
    """Whether a value fits one of the published schemas."""
    components = json.loads((project / "docs" / "openapi.json").read_text())["components"]

    def fits(name: str, value: Any) -> bool:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        return bool(Draft202012Validator(schema).is_valid(value))

    return fits


def taken(check: Callable[[Any], object], value: Any) -> bool:
    """Whether ``check`` takes the value."""
    try:
        check(value)
    except InvalidJob:
        return False
    return True


def parse_input(value: Any) -> Job:
    """The parser, which reads a job."""
    return parse_job({"id": "a", "input": value})


def bucket_of(config: Any) -> Bucket:
    """The reader of ``s3Config``."""
    return job_bucket(config, 60)


@pytest.mark.parametrize("job_input", INPUTS)
def test_the_schema_of_a_request_says_what_the_parser_says(fits: Callable[[str, Any], bool], job_input: Any) -> None:
    assert fits("Input", job_input) is taken(parse_input, job_input)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
TEXTS = ANYTHING | st.text()
FIELDS = {
    "workflow": ANYTHING
    | st.dictionaries(st.text(), st.fixed_dictionaries({"class_type": TEXTS, "inputs": ANYTHING}), max_size=2)
    | st.just(GRAPH),
    "set": ANYTHING | st.dictionaries(st.text() | st.just("3.seed"), ANYTHING, max_size=3),
    "images": ANYTHING
    | st.lists(st.fixed_dictionaries({"name": st.uuids().map(str) | ANYTHING, "image": TEXTS}, optional={"x": TEXTS})),
    "output_format": ANYTHING | st.sampled_from(["png", "webp", "jpeg", "gif"]),
    "output_quality": (ANYTHING | st.integers(-1, 102)).filter(lambda value: not isinstance(value, float)),
    "timeout_s": ANYTHING | st.floats(-1, LONGEST_S + 1) | st.sampled_from([0, LONGEST_S, LONGEST_S + 1]),
    "comfy_org_api_key": TEXTS,
    "api_key_comfy_org": TEXTS,
}


@settings(max_examples=500, derandomize=True, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(FIELDS)))
def test_whatever_is_sent_the_schema_says_what_the_parser_says(
    fits: Callable[[str, Any], bool], data: st.DataObject, name: str
) -> None:
    """One field at a time. Names that are no path of a file, and 90.0 for 90, are the parser's own matter."""
    value = data.draw(FIELDS[name])
    assume(not (name == "images" and _has_odd_name(value)))
    job_input = {"workflow": GRAPH, name: value}
    assert fits("Input", job_input) is taken(parse_input, job_input)


def _has_odd_name(images: Any) -> bool:
    try:
        names = [image["name"] for image in images]
    except (TypeError, KeyError):
        return False
    texts = [name for name in names if isinstance(name, str)]
    return len(set(texts)) < len(texts) or any(len(name) != 36 for name in texts)


S3 = {"accessId": "a", "accessSecret": "b", "bucketName": "c", "endpointUrl": "https://1.1.1.1"}  # No name to look up.


@pytest.mark.parametrize("name", S3)
@pytest.mark.parametrize("value", ["", None, 1, [], {}])
def test_the_schema_of_a_bucket_says_what_its_reader_says(
    fits: Callable[[str, Any], bool], name: str, value: Any
) -> None:
    assert fits("S3Config", S3)
    assert taken(bucket_of, S3)
    for config in (S3 | {name: value}, {key: text for key, text in S3.items() if key != name}):
        assert not fits("S3Config", config)
        assert not taken(bucket_of, config)


class Asked(dict[str, Any]):
    """An object of a request, which notes the fields that are asked for."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)


def test_the_schemas_have_the_fields_that_are_read(url: str) -> None:
    schemas = get(f"{url}/openapi.json")["components"]["schemas"]
    image, config = Asked({"name": "a.png", "image": ""}), Asked(S3)
    given = Asked({"workflow": GRAPH, "images": [image]})
    parse_input(given)
    bucket_of(config)
    for name, asked in {"Input": given, "InputImage": image, "S3Config": config}.items():
        assert set(schemas[name]["properties"]) == asked.names, name


def page(project: Path) -> str:
    """docs/api.md."""
    return (project / "docs" / "api.md").read_text()


def test_the_refusals_in_the_page_are_given_to_the_letter(
    project: Path, handle: Callable[[Any], dict[str, Any]]
) -> None:
    rows = re.findall(r"^\| `(.+)` \| `(.+)` \| `(invalid_\w+)` \|$", page(project), re.MULTILINE)
    assert len(rows) >= 16
    for sent, error, error_type in rows:
        answer = handle(json.loads(re.sub(r"\bW\b", json.dumps(GRAPH), sent)))
        assert (answer["error"], answer["error_type"]) == (error, error_type), sent


@pytest.mark.parametrize("name", ["api.md", "configuration.md"])
def test_the_examples_fit_the_schemas(project: Path, check: Check, name: str) -> None:
    blocks = re.findall(r"```json\n(.*?)```", (project / "docs" / name).read_text(), re.DOTALL)
    assert blocks
    for example in map(json.loads, blocks):
        check("JobRequest" if "input" in example else "JobStatus", example)
        if "input" in example:
            parse_job(example)


def test_lines_about_refused_images_read_as_in_the_page(
    project: Path, handle: Callable[[Any], dict[str, Any]], png: Callable[..., bytes]
) -> None:
    picture = base64.b64encode(png("#102030")).decode()
    images = {
        "a.png": base64.b64encode(b"plain text").decode(),
        "b.png": "http://127.0.0.1/b.png",
        "folder": picture,
        "folder/c.png": picture,
    }
    answer = handle({"workflow": GRAPH, "images": [{"name": name, "image": data} for name, data in images.items()]})
    told = page(project)
    assert len(answer["details"]) == 3
    for line, name in zip(answer["details"], ("a.png", "b.png", "folder/c.png"), strict=True):
        assert line.replace(name, "a.png") in told
