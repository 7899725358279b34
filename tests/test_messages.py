"""Messages about what a request has wrong: in the caller's own words, of both backends, and nothing of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest

from worker import Worker
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
