"""Workflows of ComfyUI's editor become the graphs that its page sends, and are refused where they do not fit.

``tests/workflows`` has graphs in the editor's format with what the page of front end 1.48.7 sent for them, on ComfyUI
0.33.0 with VideoHelperSuite, KJNodes and rgthree. Buttons that only the page draws are left out there.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker import Worker
from worker.convert.api_graph import to_api_graph
from worker.convert.node.definitions import Definitions
from worker.convert.node.dynamic_prompts import resolve
from worker.errors import InvalidJob, WorkerError, WorkflowRejected
from worker.job.prefixes import expand_prefixes

FOLDER = Path(__file__).parent / "workflows"
Graph = dict[str, Any]
ABOUT: Graph = json.loads((FOLDER / "definitions" / "comfyui-0.33.0.json").read_text(encoding="utf-8"))


def stored(name: str) -> Graph:
    """The workflow of ``name``, and what the page made of it."""
    found: Graph = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def plain(graph: Graph) -> Graph:
    """An API graph without titles."""
    return {node_id: {"class_type": node["class_type"], "inputs": node["inputs"]} for node_id, node in graph.items()}


def converted(workflow: Graph, about: Graph = ABOUT) -> Graph:
    return plain(to_api_graph(workflow, Definitions(about.get), lambda choices: choices[0]))


def node(workflow: Graph, node_id: int) -> Graph:
    """A node of ``workflow`` itself."""
    return next(node for node in workflow["nodes"] if node["id"] == node_id)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_workflow_becomes_what_the_page_sends(path: Path) -> None:
    given = stored(path.stem)
    workflow = copy.deepcopy(given["workflow"])
    graph = converted(workflow)
    # The page expands the names of files when it sends a graph, the worker when it runs one.
    assert expand_prefixes(with_titles(given["workflow"], graph), None) == given["page"]
    assert list(graph) == list(given["page"])
    assert workflow == given["workflow"], "what the caller sent is not changed"


def with_titles(workflow: Graph, graph: Graph) -> Graph:
    """``graph`` as it runs, where names of files may have the values of nodes by their titles."""
    if "%" not in json.dumps(graph):
        return graph
    full = to_api_graph(workflow, Definitions(ABOUT.get), lambda choices: choices[0])
    return plain(expand_prefixes(full, {"workflow": workflow}))


TEMPLATES = FOLDER / "definitions" / "templates-0.1.47.json"


def test_templates_become_what_the_page_sends(embedded_worker: Worker) -> None:
    package = importlib.util.find_spec("comfyui_workflow_templates_json")
    if package is None or package.origin is None:
        pytest.skip("the package comfyui-workflow-templates-json is not installed: scripts/install")
    if embedded_worker.embedded_runtime().source.version != "0.33.0":
        pytest.skip("what the page sends is known for ComfyUI 0.33.0")
    digests: dict[str, str] = json.loads(TEMPLATES.read_text())
    folder = Path(package.origin).parent / "templates"
    definitions = embedded_worker._opened().definitions()
    equal, refused, seconds = [], {}, []
    for name, digest in digests.items():
        workflow = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        began = time.perf_counter()
        try:
            graph = plain(to_api_graph(workflow, definitions))
        except WorkerError as error:
            refused[name] = str(error)
            continue
        finally:
            seconds.append(time.perf_counter() - began)
        assert fingerprint(graph, definitions) == digest, name
        equal.append(name)
    assert len(equal) >= 0.98 * len(digests), refused
    assert all("Load3D" in text or "the editor" in text for text in refused.values()), refused
    assert statistics.median(seconds) < 0.05  # 1 ms on a machine that does nothing else.


def fingerprint(graph: Graph, definitions: Definitions) -> str:
    """A digest of an API graph without what only the page draws."""
    known = {
        node_id: {
            "class_type": node["class_type"],
            "inputs": {
                name: value
                for name, value in node["inputs"].items()
                if "." in name or (name in declared(node["class_type"], definitions) and name != "compare_view")
            },
        }
        for node_id, node in graph.items()
    }
    # JavaScript has one kind of number.
    text = json.dumps(known, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(json.dumps(json.loads(text, parse_float=number), sort_keys=True).encode()).hexdigest()[:16]


def number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value


def declared(class_type: str, definitions: Definitions) -> set[str]:
    definition = definitions.find(class_type)
    return {spec.name for spec in definition.as_declared} if definition else set()


# What does not fit.


def refusal(workflow: Graph, about: Graph = ABOUT) -> str:
    with pytest.raises(WorkflowRejected) as refused:
        to_api_graph(workflow, Definitions(about.get))
    return str(refused.value)


def test_a_missing_class_is_named_with_the_node_and_its_title() -> None:
    workflow = stored("newer")["workflow"]
    node(workflow, 3)["title"] = "First sampler"
    text = refusal(workflow, {name: about for name, about in ABOUT.items() if name != "KSampler"})
    assert "Node 3 (KSampler, 'First sampler'): this node class is not installed" in text


def test_a_missing_class_does_not_matter_where_its_node_is_off() -> None:
    assert "SomethingUnknown" in json.dumps(stored("bypass")["workflow"])
    converted(stored("bypass")["workflow"])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([42, "fixed", 20, "euler", "normal", 1, 7.5], 'cfg is "euler", and must be a number'),
        ([20, 7.5, "euler", "normal", 1], 'steps is "euler", and must be a whole number'),
        ([42, "fixed", 20.5, 7.5, "euler", "normal", 1], "steps is 20.5, and must be a whole number"),
        ([42, "fixed", 20, 7.5, 4096, "normal", 1], "sampler_name is 4096, and must be one of its choices"),
        ([42, 20, 7.5, "euler", "normal", 1, 1], "control_after_generate cannot be 20"),
        ([42, "fixed", 20, 7.5, "euler", "normal", 1, "extra"], "the file has 8 values of its widgets"),
        ([True, "fixed", 20, 7.5, "euler", "normal", 1], "seed is true, and must be a whole number"),
    ],
)
def test_values_that_do_not_fit_their_widgets_are_refused(values: list[Any], problem: str) -> None:
    workflow = stored("newer")["workflow"]
    node(workflow, 3)["widgets_values"] = values
    text = refusal(workflow)
    assert "Node 3 (KSampler)" in text
    assert problem in text


def test_a_name_that_is_no_choice_is_left_to_comfyui() -> None:
    workflow = stored("newer")["workflow"]
    node(workflow, 4)["widgets_values"] = ["another.safetensors"]
    assert converted(workflow)["4"]["inputs"]["ckpt_name"] == "another.safetensors"


def test_widgets_of_other_names_are_refused_though_their_values_would_fit() -> None:
    workflow = stored("newer")["workflow"]
    node(workflow, 5)["inputs"] = [
        {"name": name, "type": "INT", "link": None, "widget": {"name": name}}
        for name in ("height", "width", "batch_size")
    ]
    assert "Node 5 (EmptyLatentImage): the file has its widgets height, width, batch_size" in refusal(workflow)


def test_a_link_to_an_input_that_is_none_here_is_refused() -> None:
    workflow = stored("converted")["workflow"]
    for slot in node(workflow, 3)["inputs"]:
        if slot["name"] == "cfg":
            slot["name"] = slot["widget"]["name"] = "guidance"
    assert "the editor drops the link to its input 'guidance'" in refusal(workflow)


def test_values_that_the_editor_drops_are_not_dropped_silently() -> None:
    workflow = stored("nested")["workflow"]
    sampler = workflow["definitions"]["subgraphs"][0]
    # With a second instance in the same graph, the editor lays the instances out before it knows their widgets.
    sampler["nodes"].append({**copy.deepcopy(sampler["nodes"][1]), "id": 59, "inputs": [], "outputs": []})
    assert "Node 60:50 (a subgraph): the editor drops the value of 'strength' when it opens the file" in refusal(
        workflow
    )


def test_a_promoted_value_of_another_kind_is_refused() -> None:
    workflow = stored("promoted")["workflow"]
    node(workflow, 80)["widgets_values"] = ["normal", 99, 7]
    assert 'Node 80:70 (KSampler): seed is "normal", and must be a whole number' in refusal(workflow)


def test_values_of_a_pack_that_no_widget_takes_are_refused() -> None:
    workflow = stored("rgthree")["workflow"]
    about = {**ABOUT, "Any Switch (rgthree)": {**ABOUT["Any Switch (rgthree)"]}}
    node(workflow, 23)["widgets_values"] = [{"what": "a widget that only the pack's script draws"}]
    assert "Node 23 (Any Switch (rgthree)): the file has 1 values of its widgets" in refusal(workflow, about)


def without_link(workflow: Graph) -> None:
    workflow["links"] = [link for link in workflow["links"] if link[0] != 5]


def without_node(workflow: Graph) -> None:
    workflow["nodes"] = [node for node in workflow["nodes"] if node["id"] != 7]


def with_a_circle(workflow: Graph) -> None:
    for node_id, other in ((22, 23), (23, 22)):
        link = next(link for link in workflow["links"] if link[0] == node(workflow, node_id)["inputs"][0]["link"])
        link[1:3] = [other, 0]


def with_a_text_for_links(workflow: Graph) -> None:
    workflow["links"] = "none"


def with_a_link_of_two(workflow: Graph) -> None:
    workflow["links"].append([1, 2])


def with_a_node_that_is_a_text(workflow: Graph) -> None:
    workflow["nodes"].append("KSampler")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (without_link, 'input "negative" of node 3 has a link that is not there'),
        (without_node, 'input "negative" of node 3 is linked to a node that is not there'),
        (with_a_circle, "is linked in a circle"),
        (with_a_text_for_links, "the links of the workflow must be a list"),
        (with_a_link_of_two, "is no link between nodes"),
        (with_a_node_that_is_a_text, "a node of the workflow must be an object"),
    ],
)
def test_a_damaged_file_is_refused_in_a_line(damage: Callable[[Graph], None], problem: str) -> None:
    workflow = stored("classic")["workflow"]
    damage(workflow)
    with pytest.raises(InvalidJob, match="damaged") as refused:
        to_api_graph(workflow, Definitions(ABOUT.get))
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_subgraph_that_contains_itself_is_refused() -> None:
    workflow = stored("nested")["workflow"]
    outer, inner = workflow["definitions"]["subgraphs"]
    inner["nodes"].append({"id": 90, "type": outer["id"], "inputs": [], "outputs": []})
    with pytest.raises(InvalidJob, match="contains itself"):
        to_api_graph(workflow, Definitions(ABOUT.get))


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("a cat", "a cat"),
        ("a {red|blue} cat", "a red cat"),
        ("{a {big|small}|the} cat", "a big cat"),
        (r"\{a\|b\}", "{a|b}"),
        ("a cat // that sits\non a mat", "a cat \non a mat"),
        ("a /* big\n */cat", "a cat"),
        ("an open {brace|here", "an open brace"),
        ("a closing } brace", "a closing } brace"),
        ("ends with \\", "ends with \\"),
    ],
)
def test_dynamic_prompts(text: str, resolved: str) -> None:
    assert resolve(text, lambda choices: choices[0]) == resolved


def test_a_group_node_that_newer_editors_shift_is_refused() -> None:
    workflow = stored("group_nodes")["workflow"]
    group = workflow["extra"]["groupNodes"]["Pair"]
    group["nodes"][1] = {"type": "KSampler", "inputs": [], "outputs": [], "widgets_values": []}
    group["links"] = []
    text = refusal(workflow)
    assert "Node 40 (workflow>Pair): this group node cannot be converted, since newer editors shift its values" in text


def test_a_node_that_only_the_page_links_is_refused() -> None:
    workflow = stored("newer")["workflow"]
    about = {**ABOUT, "Anything Everywhere": ABOUT["PreviewAny"]}
    workflow["nodes"].append({"id": 90, "type": "Anything Everywhere", "inputs": [], "outputs": []})
    assert "is linked to other nodes only by a script of the editor's page" in refusal(workflow, about)


def many_instances(workflow: Graph) -> None:
    """Each subgraph has two instances of the next one."""
    outer = workflow["definitions"]["subgraphs"][1]["id"]
    for number in range(20):
        node = {"type": outer, "inputs": [], "outputs": []}
        graph = {"id": f"deep-{number}", "nodes": [{**node, "id": 1000 + 2 * number + i} for i in (0, 1)], "links": []}
        workflow["definitions"]["subgraphs"].append(graph)
        outer = graph["id"]
    workflow["nodes"].append({"id": 900, "type": outer, "inputs": [], "outputs": []})


def a_long_chain(workflow: Graph) -> None:
    for number in range(5000):
        slots = [{"name": "", "type": "*", "link": 5000 + number}]
        outputs = [{"name": "", "type": "*", "links": [5001 + number]}]
        workflow["nodes"].append({"id": 5000 + number, "type": "Reroute", "inputs": slots, "outputs": outputs})
        workflow["links"].append([5000 + number, 4999 + number, 0, 5000 + number, 0, "*"])
    workflow["links"][-5000][1] = 5
    sampler = node(workflow, 3)
    next(slot for slot in sampler["inputs"] if slot["name"] == "latent_image")["link"] = 9999


def many_promoted(workflow: Graph) -> None:
    node(workflow, 60)["properties"] = {"proxyWidgets": [["66", "steps"]] * 501}


def choices_in_choices(workflow: Graph) -> None:
    node(workflow, 6)["widgets_values"] = ["{" * 100_000 + "}" * 100_000]


@pytest.mark.parametrize(
    ("enlarge", "problem"),
    [
        (many_instances, "has more than 10000 nodes"),
        (many_promoted, "proxyWidgets of node 60 must be a list"),
        (choices_in_choices, "more than 50 levels deep"),
    ],
)
def test_what_would_take_long_is_refused_at_once(enlarge: Callable[[Graph], None], problem: str) -> None:
    workflow = stored("nested")["workflow"]
    enlarge(workflow)
    began = time.perf_counter()
    with pytest.raises(InvalidJob, match=problem):
        to_api_graph(workflow, Definitions(ABOUT.get))
    assert time.perf_counter() - began < 30


def test_a_long_chain_of_reroutes_is_refused_and_no_internal_error() -> None:
    workflow = stored("newer")["workflow"]
    workflow["links"] = [list(link.values()) for link in workflow["links"]]
    a_long_chain(workflow)
    with pytest.raises(InvalidJob, match="is linked through too many other nodes"):
        to_api_graph(workflow, Definitions(ABOUT.get))


@pytest.mark.parametrize("text", ["/*" * 200_000, "/* *" * 100_000, "//" * 200_000, "\\" * 200_001, "}" * 200_000])
def test_no_prompt_takes_long(text: str) -> None:
    began = time.perf_counter()
    resolve(text, lambda choices: choices[0])
    assert time.perf_counter() - began < 30
