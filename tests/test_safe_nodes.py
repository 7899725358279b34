"""SAFE_NODES: only node classes that were reviewed for strangers, by the source that they have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import graphs
import pytest
from reviewing.tables import accept

from worker import Worker
from worker.embedded.reviewed.nodes import ReviewedNodes
from worker.embedded.reviewed.source import ModuleSource
from worker.embedded.reviewed.table import ReviewTable, review_table
from worker.engine.node_policy import NodePolicy
from worker.errors import SettingsError, StartError, WorkflowRejected
from worker.settings import load_settings

Lists = tuple[tuple[str, ...], tuple[str, ...]]
NEW = "this node class was not reviewed for strangers (SAFE_NODES)"
CHANGED = "its source differs from the one that was reviewed for strangers (SAFE_NODES)"
LEFT_OUT = "this node class is not one for strangers (SAFE_NODES)"


def reviewed(worker: Worker, *packs: str, table: ReviewTable | None = None) -> ReviewedNodes:
    """The check of the worker's ComfyUI."""
    runtime = worker.embedded_runtime()
    return ReviewedNodes(runtime.main.nodes.NODE_CLASS_MAPPINGS, runtime.source.path, packs, table)


@pytest.fixture
def apply(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ReviewedNodes]:
    """Makes the shared worker obey ``SAFE_NODES``, as its start does."""

    def use(*packs: str, lists: Lists = ((), ()), **options: Any) -> ReviewedNodes:
        nodes = reviewed(worker, *packs, **options)
        monkeypatch.setattr(worker, "_policy", NodePolicy(lists[0], lists[1], nodes.refusal))
        monkeypatch.setattr(worker.embedded_runtime().admission, "refusal", nodes.class_refusal)
        return nodes

    return use


@pytest.fixture
def nodes_module(worker: Worker) -> Any:
    """ComfyUI's module ``nodes``."""
    return worker.embedded_runtime().main.nodes


def test_a_reviewed_class_runs_and_another_is_refused(worker: Worker, apply: Callable[..., ReviewedNodes]) -> None:
    apply()
    assert worker.run(graphs.solid()).ok
    graph = graphs.solid() | {"8": graphs.node("TestCountsRuns"), "9": graphs.node("CheckpointSave")}
    with pytest.raises(WorkflowRejected) as caught:
        worker.run(graph)
    assert str(caught.value).splitlines() == [
        "Workflow validation failed:",
        f"• Node 8 (TestCountsRuns): {NEW}",
        f"• Node 9 (CheckpointSave): {LEFT_OUT}",
    ]


def test_a_class_that_is_not_installed_is_refused_as_before(
    worker: Worker, apply: Callable[..., ReviewedNodes]
) -> None:
    apply()
    with pytest.raises(WorkflowRejected, match="this node class is not installed"):
        worker.run({"1": graphs.node("KSamplr")})


def test_no_partner_node_is_reviewed(worker: Worker) -> None:
    partners = [
        name
        for name, node_class in worker.embedded_runtime().main.nodes.NODE_CLASS_MAPPINGS.items()
        if getattr(node_class, "RELATIVE_PYTHON_MODULE", "").startswith("comfy_api_nodes")
    ]
    assert len(partners) > 100
    states = reviewed(worker).states()
    assert {states[name] for name in partners} == {"new"}
    assert not any(path.startswith("comfy_api_nodes") for path in review_table().classes)


def test_the_classes_of_a_pack_that_is_named_are_allowed(worker: Worker, apply: Callable[..., ReviewedNodes]) -> None:
    nodes = apply("test_nodes")
    assert worker.run(graphs.solid() | {"9": graphs.node("TestCountsRuns", image=["1", 0])}).ok
    states = nodes.states()
    assert states["TestCountsRuns"] == "pack"
    assert states["TestPackModel"] == "new", "it is of another pack"
    assert states["CheckpointSave"] == "left out"


def test_a_pack_cannot_pass_on_a_class_of_comfyui(nodes_module: Any, worker: Worker, monkeypatch: Any) -> None:
    """ComfyUI writes the pack's name into each class that a pack lists, whose class it may be."""
    node_class = nodes_module.NODE_CLASS_MAPPINGS["CheckpointSave"]
    monkeypatch.setattr(node_class, "RELATIVE_PYTHON_MODULE", "custom_nodes.test_nodes", raising=False)
    monkeypatch.setitem(nodes_module.NODE_CLASS_MAPPINGS, "Renamed", node_class)
    nodes = reviewed(worker, "test_nodes")
    assert (nodes.refusal("CheckpointSave"), nodes.refusal("Renamed")) == (LEFT_OUT, NEW)


@pytest.mark.parametrize(
    ("lists", "refused"),
    [
        ((("SaveImage", "EmptyImage", "CheckpointSave"), ()), ["CheckpointSave"]),
        (((), ("EmptyImage",)), ["CheckpointSave", "EmptyImage"]),
        ((("EmptyImage",), ()), ["CheckpointSave", "SaveImage"]),
    ],
)
def test_the_lists_limit_further(
    apply: Callable[..., ReviewedNodes], lists: Lists, refused: list[str], worker: Worker
) -> None:
    apply(lists=lists)
    names = ("CheckpointSave", "EmptyImage", "SaveImage")
    assert [name for name in names if not worker._policy.permits(name)] == refused


class Impostor:
    """A node of a pack that takes the name of one of ComfyUI's."""


Replacing = Callable[[Any, Any], None]


def _replaces_the_class(nodes: Any, patch: Any) -> None:
    patch.setitem(nodes.NODE_CLASS_MAPPINGS, "EmptyImage", Impostor)


def _swaps_two_classes(nodes: Any, patch: Any) -> None:
    patch.setitem(nodes.NODE_CLASS_MAPPINGS, "EmptyImage", nodes.NODE_CLASS_MAPPINGS["SaveLatent"])


def _replaces_a_method(nodes: Any, patch: Any) -> None:
    patch.setattr(nodes.EmptyImage, "generate", lambda *args, **kwargs: (None,))


def _wraps_a_method(nodes: Any, patch: Any) -> None:
    @functools.wraps(nodes.EmptyImage.generate)
    def generate(*args: Any, **kwargs: Any) -> Any:
        return generate.__wrapped__(*args, **kwargs)

    patch.setattr(nodes.EmptyImage, "generate", generate)


def _adds_a_method(nodes: Any, patch: Any) -> None:
    patch.setattr(nodes.EmptyImage, "IS_CHANGED", classmethod(lambda *args, **kwargs: 1), raising=False)


def _hides_a_method(nodes: Any, patch: Any) -> None:
    patch.setattr(nodes.EmptyImage, "generate", functools.partial(nodes.EmptyImage.generate, None))


@pytest.mark.parametrize(
    "replacing",
    [_replaces_the_class, _swaps_two_classes, _replaces_a_method, _wraps_a_method, _adds_a_method, _hides_a_method],
)
@pytest.mark.parametrize("was_used", [True, False], ids=["late", "at the start"])
def test_a_class_that_other_code_replaces_is_refused(
    worker: Worker,
    nodes_module: Any,
    apply: Callable[..., ReviewedNodes],
    replacing: Replacing,
    *,
    was_used: bool,
) -> None:
    nodes = apply()
    if was_used:
        assert worker.run(graphs.solid()).ok
    with pytest.MonkeyPatch.context() as patch:
        replacing(nodes_module, patch)
        with pytest.raises(WorkflowRejected) as caught:
            worker.run(graphs.solid())
        assert CHANGED in str(caught.value)
    assert nodes.refusal("EmptyImage") is None


def test_a_function_that_a_class_uses_may_not_be_replaced(worker: Worker, nodes_module: Any) -> None:
    nodes = reviewed(worker)
    assert nodes.refusal("KSampler") is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes_module, "common_ksampler", lambda *args, **kwargs: None)
        assert nodes.refusal("KSampler") == CHANGED
        assert nodes.refusal("KSamplerAdvanced") == CHANGED
        assert nodes.refusal("SaveImage") is None
    assert nodes.refusal("KSampler") is None


def test_a_base_in_another_file_may_not_be_replaced(worker: Worker, nodes_module: Any) -> None:
    nodes = reviewed(worker)
    (base,) = (
        each for each in nodes_module.NODE_CLASS_MAPPINGS["ModelMergeFlux1"].__mro__[1:] if "Blocks" in str(each)
    )
    assert nodes.refusal("ModelMergeFlux1") is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "merge", lambda *args, **kwargs: None)
        assert nodes.refusal("ModelMergeFlux1") == CHANGED


def test_a_class_that_was_not_there_at_the_start_is_refused(
    worker: Worker, nodes_module: Any, apply: Callable[..., ReviewedNodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = apply()
    nodes.states()
    monkeypatch.setitem(nodes_module.NODE_CLASS_MAPPINGS, "Late", nodes_module.EmptyImage)
    with pytest.raises(WorkflowRejected, match="Node 1 \\(Late\\): this node class was not reviewed"):
        worker.run({**graphs.solid(), "1": graphs.node("Late", width=8, height=8, batch_size=1, color=0)})


def without(table: ReviewTable, name: str) -> ReviewTable:
    """The table, with no review of a class."""
    classes = {path: {key: found[key] for key in found if key != name} for path, found in table.classes.items()}
    return replace(table, classes=classes)


def test_a_node_that_another_node_adds_is_checked(worker: Worker, apply: Callable[..., ReviewedNodes]) -> None:
    expands = graphs.node("TestExpands", image=["1", 0])
    graph = {"1": graphs.solid()["1"], "9": expands, "10": graphs.node("PreviewImage", images=["9", 0])}
    apply("test_nodes")
    assert worker.run(graph).ok
    graph["1"]["inputs"]["color"] = 1
    apply("test_nodes", table=without(review_table(), "SaveImage"))
    result = worker.run(graph)
    assert not result.files
    assert any(
        "A node of the class SaveImage was added, but this node class was not reviewed" in line
        for line in result.errors
    )
    assert worker.run({"1": graph["1"], "9": graphs.node("PreviewImage", images=["1", 0])}).ok


def test_each_listed_class_is_as_it_was_reviewed(worker: Worker) -> None:
    """In the version that is tested. Hashes of the other versions are not looked at."""
    nodes, table = reviewed(worker), review_table()
    states = nodes.states()
    installed = [(path, name) for path, names in table.classes.items() for name in names if name in states]
    assert len(installed) > 380
    wrong = []
    for path, name in installed:
        (file, class_name), *_ = nodes.origins(name)
        if file.path == path and file.source.hash_of(class_name) not in table.classes[path][name]:
            wrong.append(name)
    assert wrong == [], "files.toml must not hide a difference"
    assert [name for name, state in states.items() if state == "changed"] == []
    assert (
        not set(states)
        - {name for _, name in installed}
        - {name for name, state in states.items() if state in ("left out", "new")}
    )


def test_every_core_class_was_looked_at(worker: Worker) -> None:
    nodes = reviewed(worker)
    new = [name for name, state in nodes.states().items() if state == "new" and nodes.origins(name)]
    assert [name for name in new if not nodes.origins(name)[0][0].path.startswith("comfy_api_nodes/")] == []


def test_without_the_hashes_of_files_it_is_the_same(worker: Worker) -> None:
    assert reviewed(worker).states() == reviewed(worker, table=replace(review_table(), files={})).states()


def test_what_is_accepted_is_reviewed_afterwards(worker: Worker, tmp_path: Path) -> None:
    table = review_table()
    empty = replace(table, classes={}, bases={}, files={})
    names = ["EmptyImage", "PreviewImage", "LatentAdd", "ModelMergeFlux1"]
    accept(reviewed(worker, table=empty), empty, names, tmp_path)
    written = replace(ReviewTable.read(tmp_path), left_out={})
    states = reviewed(worker, table=written).states()
    assert sorted(name for name, state in states.items() if state == "reviewed") == sorted(names)
    assert all(
        set(hashes) <= set(table.classes[path][name])
        for path, found in written.classes.items()
        for name, hashes in found.items()
    )


SOURCE = """
import os
LIMIT = 3
TABLE = {}
TABLE["a"] = 1
def inner(): return LIMIT
def outer(): return inner()
class Base: pass
class Node(Base):
    "What it is."
    def run(self, text: str) -> str:
        return f"{text}{outer()}{TABLE}"
class Other:
    pass
"""


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("def run", "# A comment.\n    def  run", True),
        ("return inner()", "return (inner(\n  ))", True),
        ("class Other:\n    pass", "class Other:\n    name = 1", True),
        ("import os\n", "", True),
        ("return inner()", "return inner() + 1", False),
        ("return LIMIT", "return 4", False),
        ("LIMIT = 3", "LIMIT = 4", False),
        ('TABLE["a"] = 1', 'TABLE["a"] = 2', False),
        ("class Base: pass", "class Base:\n  run = 1", False),
        ("import os\n", "import os as outer\n", False),
        ("text: str", "text: int", False),
    ],
)
def test_the_hash_is_of_what_the_class_is_made_of(old: str, new: str, *, is_same: bool) -> None:
    assert old in SOURCE
    changed = ModuleSource(SOURCE.replace(old, new)).hash_of("Node")
    assert (changed == ModuleSource(SOURCE).hash_of("Node")) is is_same


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, value in (("OFF", "off"), (" Core ", "core"), ("core, My-Pack ,other", "core,My-Pack,other")):
        monkeypatch.setenv("SAFE_NODES", text)
        assert load_settings().safe_nodes == value
    for text in ("on", "off,pack", "pack", "core,", "pack,core"):
        monkeypatch.setenv("SAFE_NODES", text)
        with pytest.raises(SettingsError, match="it takes off, core, or core and names of node packs"):
            load_settings()


def test_a_client_of_a_server_does_not_start(settings: Any) -> None:
    update = {"comfy_backend": "websocket", "safe_nodes": "core"}
    with pytest.raises(StartError, match="SAFE_NODES=core cannot be checked with COMFY_BACKEND=websocket"):
        Worker(settings.model_copy(update=update)).start()
