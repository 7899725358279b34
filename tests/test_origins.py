"""A refusal says where a missing model can be had, and which pack a missing class is of, if anybody has said so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.environment.manager_map import listed_packs
from worker.errors import WorkflowRejected
from worker.protocol.origins import Origins

BOTH = pytest.mark.backends("embedded", "websocket")
URL = "https://huggingface.co/org/name/resolve/main/x.safetensors"
MODELS = [{"name": "x.safetensors", "url": f"{URL}?token=secret", "directory": "checkpoints"}]


def refusal(worker: Worker, request: dict[str, Any]) -> str:
    """The text with which a request is refused."""
    with pytest.raises(WorkflowRejected) as caught:
        worker.run(request)
    return str(caught.value)


def checkpoint(name: str = "x.safetensors") -> dict[str, Any]:
    """A graph that loads a checkpoint."""
    return {
        "4": graphs.node("CheckpointLoaderSimple", ckpt_name=name),
        "5": graphs.node("VAEDecode", samples=["6", 0], vae=["4", 2]),
        "6": graphs.node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "7": graphs.node("SaveImage", images=["5", 0], filename_prefix="x"),
    }


def editors(*nodes: dict[str, Any]) -> dict[str, Any]:
    """A workflow of the editor."""
    return {"nodes": list(nodes), "links": [], "version": 0.4}


def with_editors(graph: dict[str, Any], *nodes: dict[str, Any]) -> dict[str, Any]:
    """A request with an API graph and the editor's form of it, as ComfyUI's page sends it."""
    return {"workflow": graph, "extra_data": {"extra_pnginfo": {"workflow": editors(*nodes)}}}


@BOTH
def test_a_missing_model_of_an_api_graph(worker: Worker) -> None:
    request = with_editors(checkpoint(), {"id": 4, "type": "CheckpointLoaderSimple", "properties": {"models": MODELS}})
    text = refusal(worker, request)
    wanted = f"'x.safetensors' is not in the list; the workflow says that it is at {URL} for models/checkpoints"
    assert f"• Node 4 (CheckpointLoaderSimple) ckpt_name: {wanted}\n" in text
    assert "secret" not in text
    assert "says that it is at" not in refusal(worker, with_editors(checkpoint("y.safetensors"))), "nobody said it"


@BOTH
def test_a_missing_model_that_the_request_names(worker: Worker) -> None:
    text = refusal(worker, {"workflow": checkpoint(), "models": MODELS})
    assert f"'x.safetensors' is not in the list; the request says that it is at {URL} for models/checkpoints" in text
    assert "secret" not in text


@BOTH
def test_a_missing_model_of_the_editor(worker: Worker) -> None:
    loader = {
        "id": 4, "type": "CheckpointLoaderSimple", "mode": 0, "inputs": [], "widgets_values": ["XL\\x.safetensors"],
        "outputs": [{"type": "MODEL"}, {"type": "CLIP"}, {"type": "VAE", "links": [1]}],
        "properties": {"models": MODELS},
    }  # fmt: skip
    latent = {
        "id": 6, "type": "EmptyLatentImage", "mode": 0, "inputs": [], "widgets_values": [64, 64, 1],
        "outputs": [{"type": "LATENT", "links": [2]}],
    }  # fmt: skip
    decode = {
        "id": 5, "type": "VAEDecode", "mode": 0, "outputs": [{"type": "IMAGE", "links": [3]}],
        "inputs": [{"name": "samples", "type": "LATENT", "link": 2}, {"name": "vae", "type": "VAE", "link": 1}],
    }  # fmt: skip
    save = {
        "id": 7, "type": "SaveImage", "mode": 0, "inputs": [{"name": "images", "type": "IMAGE", "link": 3}],
        "widgets_values": ["x"], "outputs": [],
    }  # fmt: skip
    links = [[1, 4, 2, 5, 1, "VAE"], [2, 6, 0, 5, 0, "LATENT"], [3, 5, 0, 7, 0, "IMAGE"]]
    text = refusal(worker, {"workflow": {**editors(loader, latent, decode, save), "links": links}})
    assert f"is not in the list; the workflow says that it is at {URL}" in text


@BOTH
@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"cnr_id": "tiny-pack", "ver": "1.0.8"}, "tiny-pack (scripts/install-nodes tiny-pack@1.0.8)"),
        ({"cnr_id": "tiny-pack", "ver": "unknown"}, "tiny-pack (scripts/install-nodes tiny-pack)"),
        (
            {"aux_id": "owner/tiny", "ver": "3f20054"},
            "https://github.com/owner/tiny (scripts/install-nodes https://github.com/owner/tiny@3f20054)",
        ),
        ({"cnr_id": "comfy-core", "ver": "0.99.0"}, None),
        ({"cnr_id": "--into=/etc", "aux_id": "a/b; rm"}, None),
        ({"cnr_id": ["x"], "ver": {}}, None),
        ({}, None),
    ],
)
def test_a_missing_class(worker: Worker, properties: dict[str, Any], named: str | None) -> None:
    node = {"id": 9, "type": "NoSuchClass", "mode": 0, "inputs": [], "outputs": [], "properties": properties}
    graph = {**graphs.solid(), "9": graphs.node("NoSuchClass")}
    for text in (refusal(worker, {"workflow": editors(node)}), refusal(worker, with_editors(graph, node))):
        bullet = next(line for line in text.splitlines() if "Node 9" in line)
        said = f": the workflow says that it is of the node pack {named}" if named else ""
        assert bullet == f"• Node 9 (NoSuchClass): this node class is not installed{said}"


@pytest.fixture
def manager(tmp_path: Path) -> Path:
    """A folder of packs with ComfyUI-Manager's list."""
    content = {
        "https://github.com/owner/tiny": [["NoSuchClass", "Other"], {"title_aux": "Tiny"}],
        "https://github.com/fork/tiny": [["Other"], {}],
        "https://github.com/Comfy-Org/ComfyUI": [["NewerClass"], {}],
        "https://broken": [],
        "https://odd": "x",
    }
    (tmp_path / "ComfyUI-Manager").mkdir()
    (tmp_path / "ComfyUI-Manager" / "extension-node-map.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def with_manager(worker: Worker, manager: Path) -> Iterator[Worker]:
    """A worker that finds the Manager."""
    assert worker.runtime is not None
    folders, _ = worker.runtime.main.folder_paths.folder_names_and_paths["custom_nodes"]
    folders.append(str(manager))
    yield worker
    folders.remove(str(manager))


def test_a_class_that_the_manager_lists(with_manager: Worker) -> None:
    graph = {**graphs.solid(), "9": graphs.node("NoSuchClass")}
    text = refusal(with_manager, {"workflow": graph})
    lists = "this node class is not installed: ComfyUI-Manager lists it as one of https://github.com/owner/tiny"
    assert f"• Node 9 (NoSuchClass): {lists}" in text
    node = {"id": 9, "type": "NoSuchClass", "properties": {"cnr_id": "tiny-pack"}}
    assert "the workflow says that it is of the node pack tiny-pack" in refusal(with_manager, with_editors(graph, node))


def test_the_managers_list(manager: Path, tmp_path: Path) -> None:
    assert listed_packs("Other", [manager]) == (
        "ComfyUI-Manager lists it as one of https://github.com/owner/tiny or https://github.com/fork/tiny"
    )
    assert "perhaps of a newer version" in str(listed_packs("NewerClass", [manager]))
    assert listed_packs("Unheard", [manager, tmp_path / "nothing"]) is None
    for text in ("{", "[]", "3"):
        (manager / "ComfyUI-Manager" / "extension-node-map.json").write_text(text)
        assert listed_packs("Other", [manager]) is None


@pytest.mark.parametrize(
    "workflow", [None, 3, [], {"nodes": 3}, {"nodes": [3, None, {"properties": 3}]}, {"models": 3}]
)
def test_workflows_that_say_nothing(workflow: Any) -> None:
    assert Origins(workflow).of_model("x") is None
    assert Origins(workflow).of_class("x") is None


def test_addresses_that_are_none_are_not_repeated() -> None:
    urls = ["javascript:alert(1)", "https://user:word@host/x", "x" * 5000, "https://host/\u202e", 3, None]
    for url in urls:
        assert Origins({"models": [{"name": "x", "url": url}]}).of_model("x") is None
    named = Origins({"models": [{"name": "x", "url": URL, "directory": "a\u202eb"}]}).of_model("folder/X")
    assert named == f"the workflow says that it is at {URL}"
