"""Names of files as people write them on other systems, and names that lead to another folder."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Callable
from pathlib import Path

import graphs
import pytest

from worker import Worker
from worker.errors import WorkflowRejected

pytestmark = pytest.mark.backends("embedded", "websocket")


@pytest.mark.parametrize("name", ["é.png", "é/ü.png", "XL/a.png", "XL/noending"])
@pytest.mark.parametrize("others", ["files", "workflow", "both"])
def test_a_file_is_found_in_any_spelling(worker: Worker, png: Callable[..., bytes], name: str, others: str) -> None:
    windows = unicodedata.normalize("NFD", name).replace("/", "\\")
    job = {
        "workflow": graphs.load(name if others == "files" else windows),
        "images": [
            {"name": name if others == "workflow" else windows, "image": base64.b64encode(png("#123456")).decode()}
        ],
    }
    assert worker.run(job).images[0].getpixel((0, 0)) == (0x12, 0x34, 0x56)


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("XL/tiny.safetensors", "XL\\tiny.safetensors"),
        ("é-tiny.safetensors", "e\u0301-tiny.safetensors"),
        ("e\u0301-decomposed.safetensors", "e\u0301-decomposed.safetensors"),
        ("XL/e\u0301-there.safetensors", "XL\\é-there.safetensors"),
    ],
)
def test_a_model_is_found_in_any_spelling(worker: Worker, tiny_checkpoint: Path, there: str, named: str) -> None:
    link = tiny_checkpoint.parent / there
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tiny_checkpoint)
    try:
        assert worker.run(graphs.text_to_image(checkpoint=named)).images[0].size == (64, 64)
    finally:
        link.unlink()


def test_a_model_that_is_not_there_is_named_as_the_caller_named_it(worker: Worker) -> None:
    with pytest.raises(WorkflowRejected, match=r"Node 4 .*ckpt_name: 'XL\\\\no.safetensors' is not in the list"):
        worker.run(graphs.text_to_image(checkpoint="XL\\no.safetensors"))


def test_a_file_of_another_folder_is_explained(worker: Worker, png: Callable[..., bytes]) -> None:
    job = {
        "workflow": graphs.load("a.png [output]"),
        "images": [{"name": "a.png", "image": base64.b64encode(png()).decode()}],
    }
    with pytest.raises(WorkflowRejected, match="output and temp folders are empty when it begins; send the file in 'i"):
        worker.run(job)
    for name in ("a.png [input]", "a.png[input]"):
        job["workflow"] = graphs.load(name)
        assert len(worker.run(job).images) == 1
