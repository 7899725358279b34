"""Messages about what a request has wrong: in the caller's own words, of both backends, and nothing of the machine."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.embedded.start.node_packs import recording_packs
from worker.engine.node_policy import NodePolicy
from worker.errors import WorkflowRejected
from worker.redact import Sent, public_text

pytestmark = pytest.mark.backends("embedded", "websocket")


def refused(worker: Worker, workflow: dict[str, Any], **images: str) -> list[str]:
    """The bullets about a request that ComfyUI refuses. ``images``: input files by name, with ``_`` for ``.``."""
    entries = [{"name": name.replace("_", "."), "image": data} for name, data in images.items()]
    with pytest.raises(WorkflowRejected) as caught:
        worker.run({"workflow": workflow, "images": entries})
    return [line.removeprefix("• ") for line in str(caught.value).splitlines() if line.startswith("• ")]


@pytest.mark.parametrize(
    ("sent", "text", "public"),
    [
        ("/data/models/a.bin", "no '/data/models/a.bin' in /root/x/y", "no '/data/models/a.bin' in y"),
        ("/data/my models/a.bin", "cannot open /data/my models/a.bin.", "cannot open /data/my models/a.bin."),
        ("/data/models/a.bin", "no folder /data/models", "no folder /data/models"),
        ("/data/models", "cannot open /data/models/a.bin", "cannot open a.bin"),
        ("/data/mod", "cannot open /data/models", "cannot open models"),
        ("x/data/models", "cannot open /data/models", "cannot open models"),
        ("https://host/data/models", "cannot open /data/models", "cannot open models"),
        ({"/a/b": [{"c": "/d/e"}]}, "/a/b, /d/e and /f/g", "/a/b, /d/e and g"),
        ("/data/key-1/a.bin", "cannot open /data/key-1/a.bin", "cannot open ********/a.bin"),
    ],
)
def test_paths_of_a_request_stay_and_those_of_the_machine_do_not(sent: Any, text: str, public: str) -> None:
    secrets = ["/data/key-1"] if "key" in text else []
    assert public_text(text, secrets, sent=Sent({"1": {"inputs": {"x": sent}}})) == public


def test_texts_of_millions_of_paths_are_searched_in_little_time() -> None:
    sent = Sent(["x/a/b" * 800_000, "/c/d"])
    assert public_text("/a/b " * 50_000 + "".join(f"/m/{n} " for n in range(50_000)) + "/c/d", sent=sent)[:2] == "b "


@pytest.mark.parametrize("value", ["/a/b", "/srv/data/a b/c.txt"])
def test_values_of_a_request_are_shown_as_they_were_sent(worker: Worker, value: str) -> None:
    graph = graphs.solid()
    graph["1"]["inputs"]["width"] = value
    assert f"'{value}'" in "".join(refused(worker, graph))
    graph["7"] = graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=0)
    graph["8"] = graphs.node("SaveImage", images=["7", 0], filename_prefix="x")
    (line,) = worker.run(graph).errors
    assert f"'{value}'" in line


def test_a_node_that_raises_shows_what_was_sent_and_no_folder_of_the_machine(worker: Worker) -> None:
    graph = graphs.solid()
    graph["2"]["inputs"]["filename_prefix"] = "/srv/elsewhere/x"
    (line,) = worker.run(graph).errors
    assert "/srv/elsewhere" in line
    assert "/comfy-worker" not in line
    assert "/output" not in line


@pytest.mark.parametrize("spelling", ["{folder}/XL/tiny.safetensors", "{folder}//./XL/tiny.safetensors"])
def test_a_model_is_found_by_its_full_path(worker: Worker, tiny_checkpoint: Path, spelling: str) -> None:
    link = tiny_checkpoint.parent / "XL" / "tiny.safetensors"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tiny_checkpoint)
    try:
        path = spelling.format(folder=tiny_checkpoint.parent)
        assert worker.run(graphs.text_to_image(checkpoint=path)).images[0].size == (64, 64)
    finally:
        link.unlink()


@pytest.mark.parametrize("place", ["{folder}/XL/no.safetensors", "/nowhere/{name}", "{folder}/../../{name}"])
def test_a_full_path_that_leads_to_no_model_is_shown_in_full(worker: Worker, tiny_checkpoint: Path, place: str) -> None:
    path = place.format(folder=tiny_checkpoint.parent, name=tiny_checkpoint.name)
    (bullet,) = refused(worker, graphs.text_to_image(checkpoint=path))
    assert bullet == f"Node 4 (CheckpointLoaderSimple) ckpt_name: '{path}' is not in the list"


RULE = 'a link is ["node id", number of the output], such as ["1", 0]'
LISTS = 'A list that is a value is written {"__value__": [...]}'


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ([1, 0], f"[1, 0] is no link: {RULE}. The node id must be a string"),
        ([None, 0], f"[null, 0] is no link: {RULE}. The node id must be a string"),
        ([["1", 0], 0], f'[["1", 0], 0] is no link: {RULE}. The node id must be a string'),
        ([{}, 0], f"[{{}}, 0] is no link: {RULE}. The node id must be a string"),
        (["1", "0"], f'["1", "0"] is no link: {RULE}. The output must be a whole number, without quotes'),
        (["1", 0.0], f'["1", 0.0] is no link: {RULE}. The output must be a whole number, without quotes'),
        (["1", None], f'["1", null] is no link: {RULE}. The output must be a whole number, without quotes'),
        (["1", 3], "linked to output 3 of node 1 (EmptyImage), which has only output 0 (IMAGE)"),
        (["1", -2], "linked to output -2 of node 1 (EmptyImage), which has only output 0 (IMAGE)"),
        (["4", 2], "linked to output 2 of node 4 (LoadImage), which has outputs 0 to 1 (IMAGE, MASK)"),
        (["99", 0], "linked to node 99, which is not there"),
        (["1"], f'["1"] is no link: {RULE}. {LISTS}'),
        ([], f"[] is no link: {RULE}. {LISTS}"),
        (["1", 0, 0], f'["1", 0, 0] is no link: {RULE}. {LISTS}'),
    ],
)
def test_a_link_that_leads_nowhere_is_explained(worker: Worker, link: Any, problem: str) -> None:
    graph = graphs.solid() | {"4": graphs.node("LoadImage", image="a.png")}
    graph["3"] = graphs.node("ImageInvert", image=link)
    graph["2"]["inputs"]["images"] = ["3", 0]
    (bullet,) = refused(worker, graph)
    assert bullet == f"Node 3 (ImageInvert) image: {problem}"


def test_all_links_of_a_node_that_lead_nowhere_are_told_at_once(worker: Worker) -> None:
    graph = graphs.solid()
    graph["3"] = graphs.node("ImageBlend", image1=[1, 0], image2=["1", 9], blend_factor=0.5, blend_mode="normal")
    graph["2"]["inputs"]["images"] = ["3", 0]
    found = refused(worker, graph)
    assert [line.split(":")[0] for line in found] == [f"Node 3 (ImageBlend) image{number}" for number in (1, 2)]


def test_an_output_dropped_for_its_link_says_so(worker: Worker) -> None:
    graph = graphs.solid() | {"5": graphs.node("TestShowsText", text="shown")}
    graph["2"]["inputs"]["images"] = ["5", 0]
    result = worker.run(graph)
    assert result.text == ["shown"]
    assert result.errors == (
        "Output dropped by validation: Node 2 (SaveImage) images: "
        "linked to output 0 of node 5 (TestShowsText), which has no outputs",
    )


def test_a_validation_that_raises_is_told_of_its_own_node(worker: Worker) -> None:
    graph = {"12": graphs.node("TestValidationRaises", value=3)}
    (bullet,) = refused(worker, graph)
    assert bullet.startswith("Node 12 (TestValidationRaises): ComfyUI could not check this node (")
    assert "cannot validate 3 in place" in bullet


def test_links_of_inputs_that_a_class_does_not_have_are_no_problem(worker: Worker) -> None:
    graph = graphs.solid()
    graph["2"]["inputs"] |= {"gone": ["1"], "empty": []}
    assert worker.run(graph).ok
    graph["1"]["inputs"]["width"] = [1, 0]
    (bullet,) = refused(worker, graph)
    assert bullet.startswith("Node 1 (EmptyImage) width: [1, 0] is no link")


EXPORT = "Workflow > Export (API), in newer versions File > Export (API)"


@pytest.mark.parametrize(
    ("class_type", "what"),
    [
        ("c5cc4f3c-1a2b-4f00-9c1e-5f2f0f8f7b11", "this is a subgraph, which only the editor has"),
        ("workflow>My loaders", "this is a group node, which only the editor has"),
        ("workflow/My loaders", "this is a group node, which only the editor has"),
        ("Reroute", "this is a node of the editor, which only guides a link"),
        ("PrimitiveNode", "this is a node of the editor, which only holds a value for other nodes"),
        ("Note", "this is a node of the editor, which only holds a note"),
    ],
)
@pytest.mark.parametrize("allowed", [(), ("EmptyImage", "SaveImage")])
def test_what_only_the_editor_has_is_said_to_be_so(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, class_type: str, what: str, allowed: tuple[str, ...]
) -> None:
    monkeypatch.setattr(worker, "_policy", NodePolicy(allowed))
    (bullet,) = refused(worker, graphs.solid() | {"7": graphs.node(class_type, value=1)})
    assert bullet == (
        f"Node 7 ({class_type}): {what}; an export in the API format replaces it by what it stands for: {EXPORT}"
    )


def test_the_class_of_another_pack_is_not_installed(worker: Worker) -> None:
    (bullet,) = refused(worker, graphs.solid() | {"7": graphs.node("workflows")})
    assert bullet == "Node 7 (workflows): this node class is not installed"


@pytest.mark.parametrize(("parent", "called"), [("custom_nodes", "broken"), ("comfy_extras", "comfy_extras/broken")])
def test_a_class_of_a_pack_that_failed_names_the_pack_and_the_reason(
    embedded_worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parent: str, called: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("from .classes import *")
    (tmp_path / "broken" / "classes.py").write_text("import no_such_package\nNODE_CLASS_MAPPINGS = {'OfBroken': 1}")
    nodes: Any = sys.modules["nodes"]  # ComfyUI's.
    with recording_packs(nodes, []) as packs:
        assert not asyncio.run(nodes.load_custom_node(str(tmp_path / "broken"), module_parent=parent))
    runtime = dataclasses.replace(embedded_worker.embedded_runtime(), node_packs=tuple(packs))
    monkeypatch.setattr(embedded_worker._backend, "_runtime", runtime)
    graph = graphs.solid() | {"7": graphs.node("OfBroken"), "8": graphs.node("OfNone")}
    assert refused(embedded_worker, graph) == [
        f"Node 7 (OfBroken): the node pack {called}, which has this class, could not be loaded: "
        "No module named 'no_such_package'",
        "Node 8 (OfNone): this node class is not installed",
    ]


PICTURE = "iVBORw0KGgo" + "A" * 200
LOADERS = [
    ("LoadImage", "image", "image"),
    ("LoadImageMask", "image", "image"),
    ("LoadAudio", "audio", "audio"),
    ("LoadVideo", "file", "video"),
    ("LoadLatent", "latent", "latent"),
    ("TestUploads", "clip", None),
]


def loading(class_type: str, name: str, value: Any) -> dict[str, Any]:
    """A graph of one loader and an output of its own."""
    more: dict[str, dict[str, Any]] = {
        "LoadImageMask": {"channel": "alpha"},
        "Load3D": {"image": {"image": "a.png", "mask": "a.png", "normal": "a.png"}, "width": 8, "height": 8},
    }
    inputs = {name: value} | more.get(class_type, {})
    return {"1": graphs.node(class_type, **inputs), "2": graphs.node("PreviewAny", source=["1", 0])}


@pytest.mark.parametrize(("class_type", "name", "kind"), LOADERS)
def test_an_input_file_that_is_not_there(
    worker: Worker, png: Callable[..., bytes], class_type: str, name: str, kind: str | None
) -> None:
    a_png = base64.b64encode(png()).decode()
    said = f"Node 1 ({class_type}) {name}: " + (f"Invalid {kind} file:" if kind else "there is no file")
    for sent, shown in [
        ("b.png", "b.png (the request brings a.png; send b.png under 'images')"),
        ("b.png [input]", "b.png [input] (the request brings a.png; send b.png under 'images')"),
        ("A.png", "A.png (the request brings a.png; name it a.png in the workflow, or A.png under 'images')"),
        ("/home/me/b.png", "/home/me/b.png (the request brings a.png; send b.png under 'images')"),
    ]:
        assert refused(worker, loading(class_type, name, sent), a_png=a_png) == [f"{said} {shown}"]
    (bullet,) = refused(worker, loading(class_type, name, "b.png"))
    assert bullet == f"{said} b.png (the request brings no files; send b.png under 'images')"


@pytest.mark.parametrize(("class_type", "name", "kind"), LOADERS)
def test_what_is_no_name_of_a_file(worker: Worker, class_type: str, name: str, kind: str | None) -> None:
    del kind
    takes = "this input takes the name of a file"
    instead = "under 'images', with a name, and put that name here; the request brings no files"
    for value, problem in [
        ("https://host/b.png", f"https://host/b.png is a URL, and {takes}: send the URL {instead}"),
        (f"data:image/png;base64,{PICTURE}", f"this is base64, and {takes}: send the base64 {instead}"),
        (PICTURE, f"this is base64, and {takes}: send the base64 {instead}"),
        (None, f"{takes}, as a string; the request brings no files"),
        (7, f"{takes}, as a string; the request brings no files"),
        ("é" * 5000, f"{takes}, and {'é' * 200}… is too long for one; the request brings no files"),
    ]:
        assert refused(worker, loading(class_type, name, value)) == [f"Node 1 ({class_type}) {name}: {problem}"]


def test_a_model_of_three_dimensions_that_is_not_there(worker: Worker) -> None:
    found = refused(worker, loading("Load3D", "model_file", "3d/mesh.glb"))
    (bullet,) = [line for line in found if "mesh" in line]
    assert bullet.startswith("Node 1 (Load3D) model_file: ")
    assert bullet.endswith("3d/mesh.glb (the request brings no files; send 3d/mesh.glb under 'images')")


def test_names_that_cannot_be_those_of_files(worker: Worker, png: Callable[..., bytes]) -> None:
    a_png = base64.b64encode(png()).decode()
    for sent, problem in [
        (" ", "this input takes the name of a file, and is empty; the request brings a.png"),
        ("../../x/b.png", "Invalid image file: ../../x/b.png (the request brings a.png; send b.png under 'images')"),
        ({"__value__": "b.png"}, "Invalid image file: b.png (the request brings a.png; send b.png under 'images')"),
    ]:
        assert refused(worker, graphs.load(sent), a_png=a_png) == [f"Node 1 (LoadImage) image: {problem}"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (graphs.load(""), "its input image names no file; the request brings no files"),
        (
            {"2": graphs.node("SaveImage", images="1", filename_prefix="x")},
            'its input images takes IMAGE through a link, such as ["1", 0], and was given "1"',
        ),
        (
            {"2": graphs.node("SaveImage", images={"a": 1}, filename_prefix="x")},
            'its input images takes IMAGE through a link, such as ["1", 0], and was given {"a": 1}',
        ),
    ],
)
def test_a_node_that_raises_for_a_value_that_comfyui_lets_through(
    worker: Worker, graph: dict[str, Any], reason: str
) -> None:
    (line,) = worker.run(graph).errors
    assert line.startswith("Workflow execution error: Node Type: ")
    assert line.endswith(f" ({reason})")


def test_a_link_that_comfyui_does_not_check_is_refused(worker: Worker) -> None:
    """A ComfyUI server would run nothing more after it."""
    graph = graphs.solid() | {"7": graphs.node("ImageInvert", image=["1", 0], gone=["99", 0.0])}
    assert worker.run(graph).ok, "no output needs this node"
    graph["2"]["inputs"]["images"] = ["7", 0]
    assert refused(worker, graph) == ["Node 7 (ImageInvert) gone: linked to node 99, which is not there"]
    graph["8"] = graphs.node("NoSuchNode")
    assert refused(worker, graph) == [
        "Node 8 (NoSuchNode): this node class is not installed",
        "Node 7 (ImageInvert) gone: linked to node 99, which is not there",
    ]
    assert worker.run(graphs.solid(0x112233)).ok
