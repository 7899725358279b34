"""What the page stands on: its files, ``POST /describe``, the nodes of ``/workflows/NAME``, and ``?nodes=true``."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
import requests
from graphs import node, titled
from local_api import get, post, serving, sleeping, until
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import SecretStr

from worker import Worker
from worker.page.files import page_paths
from worker.workflows.folder import WorkflowFolder

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def url(worker: Worker) -> Iterator[str]:
    """The address of a local API."""
    with serving(worker) as address:
        yield address


def describe(url: str, content: bytes | dict[str, Any], status: int = 200) -> dict[str, Any]:
    """The answer to a workflow file."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = requests.post(f"{url}/describe", data=data, timeout=60)
    assert answer.status_code == status, answer.text
    described: dict[str, Any] = answer.json()
    return described


def picture(text: str, form: str = "PNG", size: tuple[int, int] = (4, 4)) -> bytes:
    """A picture that carries ``text`` as its prompt."""
    buffer = io.BytesIO()
    image, info = Image.new("RGB", size), PngInfo()
    if form == "PNG":
        info.add_text("prompt", text)
        image.save(buffer, form, pnginfo=info)
    else:
        exif = image.getexif()
        exif[0x010F] = "prompt:" + text
        image.save(buffer, form, exif=exif)
    return buffer.getvalue()


def test_an_api_graph(url: str) -> None:
    graph = titled(graphs.text_to_image(), n3="Sampler")
    described = describe(url, graph)
    assert described["input"] == {"workflow": graph}
    ids = [node["node_id"] for node in described["nodes"]]
    assert sorted(ids) == sorted(graph)
    assert ids.index("4") < ids.index("6") < ids.index("3") < ids.index("8") < ids.index("9"), "as they run"
    assert {"node_id": "3", "class_type": "KSampler", "title": "Sampler"} in described["nodes"]
    seed = next(each for each in described["inputs"] if each["input"] == "seed")
    assert (seed["set"], seed["type"], seed["max"]) == ("Sampler.seed", "INT", 2**64 - 1)
    assert "error" not in described


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_a_picture(url: str, form: str) -> None:
    assert describe(url, picture(json.dumps(graphs.solid()), form))["input"] == {"workflow": graphs.solid()}


def test_what_comfyui_writes_that_is_no_json(url: str) -> None:
    graph = graphs.solid()
    graph["1"]["is_changed"] = [float("nan")]
    assert describe(url, picture(json.dumps(graph)))["input"]["workflow"]["1"]["is_changed"] == [None]


def test_a_request_as_a_file(url: str) -> None:
    request = {"workflow": graphs.solid(), "set": {"1.width": 8}, "output_format": "webp", "other": 1}
    described = describe(url, {"input": request})
    assert described["input"] == {name: value for name, value in request.items() if name != "other"}
    width = next(each for each in described["inputs"] if each["input"] == "width")
    assert width["default"] == 8, "as the request sets it"
    assert describe(url, {"input": json.dumps(request)})["input"] == described["input"]


def test_an_editors_workflow(url: str) -> None:
    described = describe(url, graphs.editors())
    assert [node["node_id"] for node in described["nodes"]] == ["1", "2"]
    assert described["input"]["workflow"] == graphs.editors(), "it is sent as it is"
    missing = graphs.editors()
    missing["nodes"][0]["type"] = "NoSuchClass"
    described = describe(url, missing)
    assert "Node 1 (NoSuchClass, 'Canvas'): this node class is not installed" in described["error"]
    assert [node["title"] for node in described["nodes"]] == ["Canvas", "ImageInvert", "SaveImage", "Note"]
    assert described["inputs"] == []


def test_what_is_described_runs(url: str) -> None:
    described = describe(url, picture(json.dumps(graphs.solid(0xFF))))
    done = post(f"{url}/runsync", {"input": described["input"] | {"set": {described["inputs"][0]["set"]: 8}}})
    assert done["status"] == "COMPLETED"


def bomb() -> bytes:
    """A small PNG that says it has 40,000 × 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "The file is no JSON"),
        (b"\xff\xfe\x00", "The file is no JSON"),
        (b"[1]", "its JSON is no object"),
        (b"{}", "'workflow' has no nodes"),
        (b'{"1": 2}', "node '1' must be an object"),
        (b'{"input": [1]}', "its 'input' is no object"),
        (b'{"input": "{"}', "no request that can be read"),
        (b'{"workflow": "red"}', "choose it by its name"),
        (b'{"input": ' + b'{"a":' * 900 + b"1" + b"}" * 901, "'workflow'"),
        (b'{"input": ' + b"[" * 200_000, "is no JSON"),
        (b"\x89PNG\r\n\x1a\nnonsense", "The file is a damaged PNG"),
        (picture("{}")[:60], "The file is a damaged PNG"),
        (picture(""), "The file carries no workflow"),
        (bomb(), "The file is a damaged PNG"),
        (b"fLaC" + bytes(100), "The file is a damaged sound or video"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(100), "The file is a damaged sound or video"),
    ],
)
def test_what_is_no_workflow(url: str, content: bytes, text: str) -> None:
    answer = describe(url, content, 400)
    assert text in answer["error"]
    assert "Traceback" not in answer["error"]


def test_broken_texts_do_not_break_the_answer(url: str) -> None:
    graph = titled(graphs.solid(), n1="half \ud83d a letter")
    assert describe(url, graph)["nodes"][0]["title"]


def test_a_circle_and_unknown_classes(url: str) -> None:
    graph = {"1": node("NoSuchClass", image=["2", 0], text="x"), "2": node("ImageInvert", image=["1", 0])}
    described = describe(url, graph)
    assert [each["node_id"] for each in described["nodes"]] == ["1", "2"]
    assert [each["set"] for each in described["inputs"]] == ["NoSuchClass.text"]


def test_limits_and_guards(worker: Worker) -> None:
    with serving(worker, local_api_token=SecretStr("secret"), local_api_max_request_mb=0.001) as url:
        bearer = {"Authorization": "Bearer secret"}
        graph = json.dumps(graphs.solid())
        assert requests.post(f"{url}/describe", data=graph, timeout=5).status_code == 401
        assert requests.post(f"{url}/describe", data=graph, headers=bearer, timeout=5).status_code == 200
        assert requests.post(f"{url}/describe", data=b" " * 2000, headers=bearer, timeout=5).status_code == 413
        foreign = bearer | {"Origin": "http://evil.example"}
        assert requests.post(f"{url}/describe", data=graph, headers=foreign, timeout=5).status_code == 403
        for path in ("/", *page_paths()):
            assert requests.get(url + path, headers=HTML, timeout=5).status_code == 200, path
        others = ("/page", "/page/", "/page/main.js/", "/page/nothing.js", "/page/../health", "/page/%2e%2e/health")
        for path in others:
            assert requests.get(url + path, headers=HTML, timeout=5).status_code == 401, path
        assert (
            requests.get(f"{url}/page/main.js", headers=HTML | {"Host": "evil.example"}, timeout=5).status_code == 403
        )


def test_a_picture_over_the_limit_of_pixels(worker: Worker) -> None:
    with serving(worker, max_image_pixels=100) as url:
        large = picture(json.dumps(graphs.solid()), size=(11, 10))
        assert "11 × 10 pixels, and the limit is 100" in describe(url, large, 400)["error"]
        assert describe(url, picture(json.dumps(graphs.solid()), size=(10, 10)))["nodes"]


def test_only_named_workflows(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "red.json").write_text(json.dumps(titled(graphs.solid(), n1="Canvas")))
    before = worker.workflows
    worker.workflows = WorkflowFolder(worker.settings.model_copy(update={"workflows_dir": tmp_path}))
    try:
        with serving(worker, workflows_only=True) as url:
            assert "runs its own workflows only" in describe(url, graphs.solid(), 400)["error"]
            nodes = get(f"{url}/workflows/red")["nodes"]
            assert [(each["node_id"], each["title"]) for each in nodes] == [("1", "Canvas"), ("2", "Save Image")]
            assert "nodes" not in get(f"{url}/workflows")["workflows"][0]
    finally:
        worker.workflows = before


def test_browsers_get_the_page_and_programs_the_documentation(url: str) -> None:
    page = requests.get(url, headers=HTML, timeout=5)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["vary"] == "Accept"
    for accept in ("*/*", "application/json"):
        answer = requests.get(url, headers={"Accept": accept}, timeout=5, allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, f"{url}/docs")


def test_without_the_page(worker: Worker) -> None:
    with serving(worker, local_api_page=False) as url:
        answer = requests.get(url, headers=HTML, timeout=5, allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, f"{url}/docs")
        assert requests.get(f"{url}/page/main.js", timeout=5).status_code == 404


def test_every_file_that_the_page_names_is_there(url: str, project: Path) -> None:
    static = project / "worker" / "page" / "static"
    for path in static.iterdir():
        text = path.read_text()
        assert len(text.splitlines()) <= 250, path.name
        assert "innerHTML" not in text.replace("There is no innerHTML", ""), path.name
        for named in [part for part in text.replace("'", '"').split('"') if part.startswith("/page/")]:
            assert named in page_paths(), f"{path.name}: {named}"
    answer = requests.get(f"{url}/page/main.js", timeout=5)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_which_nodes_are_done(url: str) -> None:
    job_id = post(f"{url}/run", {"input": {"workflow": sleeping()}})["id"]
    for _ in range(200):
        output = get(f"{url}/status/{job_id}?nodes=true").get("output", {})
        if output.get("node_id") == "3":
            break
    assert output["done_nodes"] == ["1"]
    assert "done_nodes" not in get(f"{url}/status/{job_id}")["output"], "others see what they saw before"
    post(f"{url}/cancel/{job_id}")
    until(url, job_id, "CANCELLED")
