"""A real Jupyter kernel runs the README's example, and shows it as a notebook's user expects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import graphs
import nbformat
import packs
import pytest
from nbclient import NotebookClient
from PIL import Image

from worker import Worker
from worker.events import NodeProgress, NodeStarted, Notice, PromptEnded, PromptStarted
from worker.progress.notebook import NotebookProgress

SECOND = """
import asyncio
from pathlib import Path
loop = asyncio.get_running_loop()
size = {"width": 900, "height": 600, "batch_size": 1}
colours = {n: {"class_type": "EmptyImage", "inputs": {**size, "color": int(n)}} for n in "12"}
saves = {"8" + n: {"class_type": "SaveImage", "inputs": {"images": [n, 0], "filename_prefix": "c"}} for n in colours}
async with Worker() as worker:
    result = await worker.arun(colours | saves)
    failed = [pack.error for pack in worker.runtime.node_packs]
result
"""
THIRD = """
print(failed, Path("seen").read_text())
print(asyncio.get_event_loop() is asyncio.get_running_loop() is loop, await asyncio.sleep(0.01, "the loop goes on"))
"""
WRONG = """
with progress_bar() as bar, Worker(say=bar.say) as worker:
    worker.run({"1": {"class_type": "NoSuchNode", "inputs": {}}}, on_event=bar)
"""


@pytest.fixture(scope="module")
def cells(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[list[Any]]]:
    """The outputs of each cell of a notebook that has the README's example, word for word, as its first cell."""
    folder = tmp_path_factory.mktemp("notebook")
    (code,) = re.findall(r"```python\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    (folder / "examples").symlink_to(project / "examples")
    base = packs.base_with_signals(folder)
    sources = [code, SECOND, THIRD, WRONG]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name))
        patch.setenv("COMFY_BASE_DIR", str(base))
        patch.setenv("PYTHONPATH", str(project))
        client = NotebookClient(notebook, timeout=240, allow_errors=True, resources={"metadata": {"path": str(folder)}})
        yield [cell.outputs for cell in client.execute().cells]


def _printed(outputs: list[Any], stream: str = "stdout") -> list[str]:
    texts = (output.text for output in outputs if output.output_type == "stream" and output.name == stream)
    return "".join(texts).splitlines()


def _shown(outputs: list[Any], kind: str) -> list[str]:
    return [output.data["text/html"] for output in outputs if output.output_type == kind]


def test_the_readme_s_example_shows_a_bar_and_the_picture(cells: list[list[Any]]) -> None:
    outputs = cells[0]
    (bar,) = _shown(outputs, "display_data")
    assert "<progress" in bar
    assert "done, 64 of 64 nodes" in bar
    assert _printed(outputs) == ["(1024, 576)", "[] []", "()"], "and no line for each event"
    assert _printed(outputs, "stderr") == []
    (result,) = _shown(outputs, "execute_result")
    assert result.startswith("<div>success, 1 file")
    assert result.count('<img src="data:image/webp;base64,') == 1
    assert "landscape_00001_.png, 1024×576, node 64" in result
    assert len(result) < 200_000


def test_a_loop_runs_there_and_node_packs_are_imported_as_in_a_stock_start(cells: list[list[Any]]) -> None:
    (result,) = _shown(cells[1], "execute_result")
    assert re.findall(r'width="(\d+)" height="(\d+)"', result) == [("256", "171")] * 2
    assert _printed(cells[2]) == [f"[None] {packs.SEEN}", "True the loop goes on"]


def test_a_refused_workflow_ends_the_bar(cells: list[list[Any]]) -> None:
    (bar,) = _shown(cells[3], "display_data")
    assert "stopped" in bar
    assert cells[3][-1].ename == "WorkflowRejected"
    assert len(_printed(cells[3], "stderr")) < 5, "ComfyUI's own warnings"


class _Updates(list[str]):
    """Stands for the cell's output: keeps what the bar said at each update."""

    def update(self, shown: object) -> None:
        self.append(repr(shown))


def test_a_bar_is_updated_only_so_often() -> None:
    bar, updates = NotebookProgress(), _Updates()
    bar._handle = cast(Any, updates)
    bar.say(Notice("importing nodes"))
    bar.say(Notice("no <device>", is_warning=True))
    bar(PromptStarted("p", 2))
    bar(NodeStarted("1", "1", "KSampler"))
    for step in range(1000):
        bar(NodeProgress("1", step, 1000))
    bar(PromptEnded("p", "error"))
    bar.__exit__(None, None, None)
    assert updates[:2] == ["importing nodes"] * 2
    assert len(updates) < 500
    assert updates[-1].startswith("failed, 0 of 2 nodes")
    assert "<div>warning: no &lt;device&gt;</div>" in bar._repr_html_()


def test_many_pictures_stay_small(worker: Worker) -> None:
    noise = {
        "1": graphs.node("EmptyImage", width=600, height=400, batch_size=40, color=0x808080),
        "2": graphs.node("ImageAddNoise", image=["1", 0], seed=1, strength=1.0),
        "3": graphs.node("SaveImage", images=["2", 0], filename_prefix="<b>noise"),
    }
    result = worker.run(noise)
    assert result.size > 10e6
    shown = result._repr_mimebundle_()
    assert shown["text/html"].count("<img ") == 12
    assert "<b>" not in shown["text/html"]
    assert "&lt;b&gt;noise_00013_.png, image/png, 0." in shown["text/html"]
    assert shown["text/html"].count("and 8 more") == 1
    assert len(shown["text/html"]) < 1_000_000
    assert shown["text/plain"].splitlines()[-1] == "and 20 more"
    result.close()
    assert "<b>noise_00001_.png, image/png, removed, node 3" in result._repr_mimebundle_()["text/plain"]


def test_texts_and_errors_are_shown_and_no_markup_of_theirs(worker: Worker) -> None:
    text = "<script>alert(1)</script>" + "x" * 3000
    result = worker.run(graphs.through("TestRaises") | {"8": graphs.node("TestShowsText", text=text)})
    shown = result._repr_mimebundle_()["text/html"]
    assert "Node 8: &lt;script&gt;" in shown
    assert "(1025 more characters)" in shown
    assert "Workflow execution error: Node Type: TestRaises" in shown
    assert "<script>" not in shown


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "P", "LA", "L", "1", "F"])
def test_pictures_of_every_mode(worker: Worker, tmp_path: Path, mode: str) -> None:
    result = worker.run(graphs.solid())
    path = result.artifacts[0].path
    Image.new(mode, (300, 100), 0).save(path, "TIFF" if mode == "F" else "PNG")
    assert 'width="300" height="100"' in result._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("content", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n broken"])
def test_a_picture_that_cannot_be_read_has_its_line(worker: Worker, content: bytes) -> None:
    result = worker.run(graphs.solid())
    result.artifacts[0].path.write_bytes(content)
    assert ".png, image/png, 0.00 MB, node" in result._repr_mimebundle_()["text/html"]
