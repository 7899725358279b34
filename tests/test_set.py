"""Values of a request's ``set``, and of ``run --set``, reach the inputs that they name, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import graphs
import pytest
from graphs import Graph, node, titled

from worker import Worker
from worker.convert.api_graph import convert
from worker.convert.node.definitions import Definitions
from worker.errors import InvalidJob
from worker.handler import make_handler
from worker.job.from_python import make_job
from worker.workflows.changes import changed, typed_change

FOLDER = Path(__file__).parent / "workflows"
BOTH = pytest.mark.backends("embedded", "websocket")


def sampling() -> Graph:
    """The default workflow, with titles."""
    return titled(graphs.text_to_image(), n6="Positive prompt", n7="Negative prompt", n3="KSampler", n9="v1.5 save")


def set_in(worker: Worker, workflow: Any, **changes: Any) -> Graph:
    """The graph that runs."""
    return worker.converted(make_job({"workflow": workflow, "set": changes})).workflow


def refusal(worker: Worker, workflow: Any, changes: Any) -> str:
    """The text with which ``set`` is refused."""
    answer = asyncio.run(make_handler(worker)({"id": "1", "input": {"workflow": workflow, "set": changes}}))
    assert answer["error_type"] == "invalid_input", answer
    return str(answer["error"])


@BOTH
def test_values_by_id_and_by_title(worker: Worker) -> None:
    given = sampling()
    before = json.dumps(given)
    changes = {"Positive prompt.text": "a boat", "3.seed": 7, "KSampler.cfg": 5, "v1.5 save.filename_prefix": "a"}
    graph = set_in(worker, given, **changes)
    assert graph["6"]["inputs"]["text"] == "a boat"
    assert graph["3"]["inputs"] | {"seed": 7, "cfg": 5} == graph["3"]["inputs"]
    assert graph["9"]["inputs"]["filename_prefix"] == "a"
    assert graph["7"] == given["7"]
    assert json.dumps(given) == before, "what the caller sent is not changed"


@BOTH
def test_a_request_runs_with_them(worker: Worker) -> None:
    given = {"workflow": graphs.solid(), "set": {"1.color": 0x0A141E, "Save Image.filename_prefix": "mine"}}
    answer = asyncio.run(make_handler(worker)({"id": "1", "input": given}))
    assert [entry["filename"] for entry in answer["images"]] == ["mine_00001_.png"]
    result = worker.run(given)
    assert result.images[0].getpixel((0, 0)) == (0x0A, 0x14, 0x1E)


@BOTH
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"Positiv prompt.text": "a"}, "no node 'Positiv prompt' (is 'Positive prompt' meant?); the workflow has 4"),
        ({"33.seed": 1}, "there is no node '33'"),
        ({"positive prompt.text": "a"}, "(is 'Positive prompt' meant?)"),
        ({"3.sed": 1}, "node 3 (KSampler) has no input 'sed' (is 'seed' meant?); it has seed, steps, cfg"),
        ({"6.prompt": "a"}, "node 6 (CLIPTextEncode, 'Positive prompt') has no input 'prompt'; it has text"),
        ({"3.model": "a"}, "'3.model': model of node 3 (KSampler) is linked to node 4 (CheckpointLoaderSimple)"),
        ({"3.seed": "a"}, "'3.seed' is \"a\", and must be a whole number from 0 to 18446744073709551615"),
        ({"3.seed": True}, "'3.seed' is true, and must be a whole number"),
        ({"3.seed": None}, "'3.seed' is null, and must be a whole number"),
        ({"3.seed": -1}, "'3.seed' is -1, and must be a whole number from 0"),
        ({"3.seed": 2**64}, "must be a whole number from 0 to 18446744073709551615"),
        ({"3.seed": 10**400}, "must be a whole number from 0 to 18446744073709551615"),
        ({"3.seed": 1.5}, "'3.seed' is 1.5, and must be a whole number"),
        ({"3.seed": math.inf}, "'3.seed' is Infinity, and takes only numbers that JSON has"),
        ({"3.cfg": math.nan}, "'3.cfg' is NaN, and takes only numbers that JSON has"),
        ({"3.cfg": 101}, "'3.cfg' is 101, and must be a number from 0.0 to 100.0"),
        ({"3.cfg": "4"}, "'3.cfg' is \"4\", and must be a number from 0.0 to 100.0"),
        ({"3.cfg": {}}, "'3.cfg' is {}, and must be a number"),
        ({"3.seed": ["4", 0]}, "'3.seed' is [\"4\", 0], and takes values only, and no links to other nodes"),
        ({"6.text": ["4", 0]}, "takes values only, and no links"),
        ({"6.text": ["4", 0.5]}, "takes values only, and no links"),
        ({"6.text": {"__value__": ["4", 0]}}, "takes values only, and no links"),
        ({"6.text": {"a": [math.nan]}}, "takes only numbers that JSON has"),
        ({"6.text": 5}, "'6.text' is 5, and must be a text"),
        ({"3.sampler_name": 5}, "'3.sampler_name' is 5, and must be one of its choices"),
        ({"3.sampler_name": []}, "'3.sampler_name' is [], and must be one of its choices"),
        ({"3.seed": 1, "KSampler.seed": 2}, "'3.seed' and 'KSampler.seed' are the same input: set it once"),
        ({"seed": 1}, "'set': 'seed' names no input: it takes NODE.INPUT, such as \"3.seed\""),
        ({".seed": 1}, "names no input"),
        ({"3.": 1}, "names no input"),
        ({"a." + "b" * 600: 1}, "names no input"),
        ({"\udc80.\0": 1}, "there is no node '\\udc80'"),
        ({f"{number}.seed": 1 for number in range(10_000)}, "'set' has 10000 entries, the limit is 1000"),
        ({"3.seed": json.loads("[" * 200 + "]" * 200)}, "'set' is nested more than 100 levels deep"),
        ([], "'set' must be an object, such as {\"3.seed\": 7}, not a list"),
        ("3.seed", "'set' must be an object"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(worker: Worker, tiny_checkpoint: object, changes: Any, text: str) -> None:
    told = refusal(worker, sampling(), changes)
    assert text in told
    assert len(told) < 1500


def test_a_title_of_several_nodes_is_refused_with_their_ids(worker: Worker) -> None:
    given = titled(graphs.text_to_image(), n6="Prompt", n7="Prompt")
    assert "'Prompt.text' may mean 2 nodes; use the id of one: 6 (CLIPTextEncode, 'Prompt')" in refusal(
        worker, given, {"Prompt.text": "a"}
    )
    assert set_in(worker, given, **{"7.text": "a"})["7"]["inputs"]["text"] == "a"


def test_an_id_comes_before_a_title(worker: Worker) -> None:
    given = titled(graphs.text_to_image(), n6="7")
    assert set_in(worker, given, **{"7.text": "a"})["7"]["inputs"]["text"] == "a"


def test_a_choice_that_is_none_is_refused_by_comfyui(worker: Worker, tiny_checkpoint: object) -> None:
    given = {"workflow": sampling(), "set": {"3.sampler_name": "fastest"}}
    answer = asyncio.run(make_handler(worker)({"id": "1", "input": given}))
    assert answer["error_type"] == "workflow_validation"
    assert "Node 3 (KSampler) sampler_name: 'fastest' is not in the list" in answer["error"]


def test_an_input_that_the_graph_does_not_have_yet(worker: Worker) -> None:
    given = {"1": node("EmptyImage", width=8, height=8, batch_size=1), "2": node("SaveImage", images=["1", 0])}
    graph = set_in(worker, given, **{"1.color": 255, "2.filename_prefix": "a"})
    assert graph["1"]["inputs"]["color"] == 255
    assert "takes only links, and no values" in refusal(worker, {"1": node("ImageInvert")}, {"1.image": "a"})


def test_an_input_that_its_class_does_not_declare(worker: Worker) -> None:
    given = {"1": node("NoSuchClass", lora={"on": True}, rows={"__value__": ["a"]}, name="x", count=1)}
    changes = {"1.lora": {"on": False}, "1.name": "y", "1.count": 2.5}
    assert set_in(worker, given, **changes)["1"]["inputs"]["lora"] == {"on": False}
    for key, value in {
        "1.lora": "x",
        "1.name": 1,
        "1.count": "x",
        "1.rows": {"__value__": ["3", 0]},
        "1.more": 1,
    }.items():
        refusal(worker, given, {key: value})


def test_whole_numbers_stay_whole(worker: Worker) -> None:
    value = set_in(worker, graphs.solid(), **{"1.width": 32.0})["1"]["inputs"]["width"]
    assert (value, type(value)) == (32, int)


def shown_by_the_editor(name: str, **changes: Any) -> Graph:
    """A stored workflow of the editor as an API graph, with other values."""
    definitions = Definitions(json.loads((FOLDER / "definitions" / "comfyui-0.33.0.json").read_text()).get)
    graph, handles = convert(json.loads((FOLDER / f"{name}.json").read_text())["workflow"], definitions)
    return changed(graph, [changes], definitions, handles)


def test_what_a_subgraph_shows_is_set_in_all_its_places() -> None:
    graph = shown_by_the_editor("promoted", **{"Sampler.seed": 5, "83.scheduler": "karras", "KSampler.cfg": 3})
    assert [graph[node_id]["inputs"]["seed"] for node_id in ("80:70", "80:71", "83:70", "83:71")] == [5, 5, 1, 2]
    assert [graph[node_id]["inputs"]["scheduler"] for node_id in ("80:70", "83:70")] == ["normal", "karras"]
    # Those in the subgraphs have this title as well, but not at the place where people look first.
    assert [graph[node_id]["inputs"]["cfg"] for node_id in ("3", "80:70")] == [3, 5]
    graph = shown_by_the_editor("nested", **{"Sample.text": "new", "61:50.strength": 0.25, "60:66.steps": 3})
    assert graph["60:50:1"]["inputs"]["text"] == "new"
    assert [graph[node_id]["inputs"]["strength"] for node_id in ("60:50:2", "61:50:2")] == [0.75, 0.25]
    assert graph["60:66"]["inputs"]["steps"] == 3


def test_what_a_primitive_holds_is_set_where_it_leads() -> None:
    graph = shown_by_the_editor("proxies", **{"80.value": 640, "81:74.value": 7})
    assert (graph["80:72"]["inputs"]["width"], graph["80:72"]["inputs"]["height"]) == (640, 640)
    assert [graph[f"{number}:71"]["inputs"]["steps"] for number in (80, 81, 82)] == [15, 7, 15]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            "Sampler.scheduler",
            "'Sampler.scheduler' may mean 2 nodes; use the id of one: 80 ('Sampler'), 83 ('Sampler')",
        ),
        ("Sampler.cfg", "'Sampler.cfg' may mean 2 nodes"),
        ("80.cfg", "node 80 ('Sampler') has no input 'cfg'; it has seed, scheduler"),
        (
            "Samplr.seed",
            "(is 'Sampler' or 'KSampler' meant?); the workflow has 80 ('Sampler'), 83 ('Sampler'), 3 (KSampler)",
        ),
    ],
)
def test_what_the_editor_shows_and_does_not_fit(key: str, text: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        shown_by_the_editor("promoted", **{key: 1})
    assert text in str(caught.value)


def test_an_input_is_set_once_by_whatever_name() -> None:
    with pytest.raises(InvalidJob, match=r"'80\.seed' and '80:71\.seed' are the same input"):
        shown_by_the_editor("promoted", **{"80.seed": 1, "80:71.seed": 2})


def test_a_choice_brings_its_inputs_along() -> None:
    declared = ["COMFY_DYNAMICCOMBO_V3", {"options": [
        {"key": "by size", "inputs": {"required": {"width": ["INT", {"default": 512, "min": 1, "max": 900}]}}},
        {"key": "by factor", "inputs": {"required": {"factor": ["FLOAT", {"default": 2.0, "min": 0.5}]}}},
    ]}]  # fmt: skip
    definitions = Definitions({"Resize": {"input": {"required": {"how": declared}}}}.get)
    graph = {"1": node("Resize", **{"how": "by size", "how.width": 64})}
    assert changed(graph, [{"1.how.width": 8}], definitions)["1"]["inputs"]["how.width"] == 8
    assert changed(graph, [{"1.how": "by factor"}], definitions)["1"]["inputs"]["how.factor"] == 2.0
    both = {"1.how": "by factor", "1.how.factor": 4}
    assert changed(graph, [both], definitions)["1"]["inputs"]["how.factor"] == 4
    for wrong, text in (
        ({"1.how": "by luck"}, "'1.how' is \"by luck\", and must be one of its choices"),
        ({"1.how": ["by size"]}, "must be one of its choices"),
        ({"1.how.width": 901}, "must be a whole number from 1 to 900"),
        ({"1.how.factor": 0}, "has no input 'how.factor'"),
        ({"1.how": "by factor", "1.how.factor": 0}, "must be a number of at least 0.5"),
    ):
        with pytest.raises(InvalidJob) as caught:
            changed(graph, [wrong], definitions)
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3.seed=42", 42), ("6.text=42", "42"), ("6.text=true", "true"), ('6.text="42"', "42"), ("6.text=", ""),
        ("6.text=a=b.c", "a=b.c"), ('6.text={"a": 1}', '{"a": 1}'), ("3.cfg=4.50", 4.5),
        ("3.sampler_name=euler", "euler"),
        ('6.text=["4", 0]', '["4", 0]'),
    ],
)  # fmt: skip
def test_what_is_typed_means_what_the_input_takes(worker: Worker, text: str, value: object) -> None:
    key, typed = typed_change(text)
    graph = changed(sampling(), [{key: typed}], worker._opened().definitions())
    node_id, name = key.split(".")
    assert graph[node_id]["inputs"][name] == value


@pytest.mark.parametrize("text", ["3.seed=x", "3.seed=", "3.cfg=NaN", '3.cfg=["4", 0]'])
def test_what_is_typed_and_fits_nothing(worker: Worker, text: str) -> None:
    key, typed = typed_change(text)
    with pytest.raises(InvalidJob, match=r"'set': '3\."):
        changed(sampling(), [{key: typed}], worker._opened().definitions())


def test_a_thousand_changes_take_no_time(worker: Worker) -> None:
    graph = {str(number): node("EmptyImage", width=8, height=8, batch_size=1, color=0) for number in range(1000)}
    graph["save"] = node("SaveImage", images=["1", 0])
    changes = {f"{number}.color": number for number in range(1000)}
    assert set_in(worker, graph, **changes)["999"]["inputs"]["color"] == 999
    assert "no node" in refusal(worker, graph, {"." * 250 + "x." * 100 + "y": 1})
