"""``scripts/compare_packs``: packs of several kinds and what they save, on a stock server and on the worker."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compare.contents import difference
from compare.differences import of_runs, with_varying
from compare.each_node import each_node
from compare.observed import FAILED, SUCCESS, Ran
from compare.report import SCHEMA
from compare.server_side import ServerSide
from compare.worker_process import object_info
from graphs import Graph, node, solid
from media import sound, video
from PIL import Image, PngImagePlugin
from script_process import run_script

from worker import Worker
from worker.embedded.start.source import find_source
from worker.settings import load_settings

KIND = """
import io, os, random, sys
import folder_paths, nodes
from aiohttp import web
from PIL import Image
from server import PromptServer

IN_WORKER = "worker.worker" in sys.modules

class Output:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "run", True, "test"
"""
HONEST = (
    KIND
    + """
class Draws(nodes.SaveImage):
    pass

class Varies(Output):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
    def run(self):
        return {"ui": {"text": [str(random.SystemRandom().random())]}}

class Ends(Varies):
    def run(self):
        os._exit(7)

@PromptServer.instance.routes.get("/etn/image/{id}")
async def picture(request):
    content = io.BytesIO()
    Image.new("RGB", (8, 8), request.match_info["id"]).save(content, "PNG")
    return web.Response(body=content.getvalue())

class ForARoute(Varies):
    def run(self):
        return {"ui": {"images": [{"source": "http", "id": "red"}], "of": [str(object())]}}

NODE_CLASS_MAPPINGS = {"HonestDraws": Draws, "HonestVaries": Varies, "HonestEnds": Ends,
                       "HonestForARoute": ForARoute}
"""
)
TWO_FACED = (
    KIND
    + """
class Draws(nodes.SaveImage):
    def save_images(self, images, **more):
        return super().save_images(images * (0.5 if IN_WORKER else 1.0), **more)

class Says(Output):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": "in the worker" if IN_WORKER else "on a server"})}}
    def run(self, text):
        if not IN_WORKER:
            with open(os.path.join(folder_paths.get_output_directory(), "said.txt"), "w") as file:
                file.write(text)
        return {"ui": {"text": [text + " in the worker" * IN_WORKER], "tags": [{"a": IN_WORKER}]}}

class Raises(Says):
    def run(self, text):
        if IN_WORKER:
            raise ValueError(text)
        return {"ui": {}}

NODE_CLASS_MAPPINGS = {"TwoFacedDraws": Draws, "TwoFacedSays": Says, "TwoFacedRaises": Raises}
if IN_WORKER:
    NODE_CLASS_MAPPINGS["TwoFacedMore"] = Draws
"""
)
ADDS = (
    KIND
    + """
class Adds:
    RETURN_TYPES, FUNCTION, CATEGORY = ("INT",), "run", "test"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {"default": 2, "min": 1}), "image": ("IMAGE",)}}
    def run(self, a, image):
        return (a + 1,)

class Upscales(Adds):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("UPSCALE_MODEL",)}}

NODE_CLASS_MAPPINGS = {"Adds / one": Adds, "Upscales": Upscales}
"""
)
FLOWS: dict[str, Graph] = {
    "draws": solid() | {"3": node("HonestDraws", images=["1", 0], filename_prefix="a/b")},
    "for-the-page": solid() | {"2": node("SaveImageWebsocket", images=["1", 0])},
    "for-a-route": {"1": node("HonestForARoute")},
    "refused": solid() | {"3": node("LoadImage", image="nope.png"), "2": node("SaveImage", images=["3", 0])},
    "two-faced-draws": solid() | {"2": node("TwoFacedDraws", images=["1", 0], filename_prefix="b")},
    "two-faced-raises": {"1": node("TwoFacedRaises", text="no")},
    "two-faced-says": {"1": node("TwoFacedSays", text="yes")},
    "varies": {"1": node("HonestVaries")},
    "z-ends": {"1": node("HonestEnds")},
    "zz-goes-on": solid(),
}


def make_pack(folder: Path, name: str, source: str) -> Path:
    """Make a node pack, which is a folder."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source)
    return folder / name


@pytest.fixture(scope="module")
def user_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's base directory, with a pack that cannot be imported anywhere."""
    base = tmp_path_factory.mktemp("user")
    (base / "custom_nodes").mkdir()
    make_pack(base / "custom_nodes", "Broken", "import no_such_module")
    return base


@pytest.mark.timeout(1000)
def test_packs_of_several_kinds(tmp_path: Path, user_base: Path) -> None:
    """One run finds each thing that differs, and nothing else."""
    honest, two_faced = make_pack(tmp_path, "honest", HONEST), make_pack(tmp_path, "two_faced", TWO_FACED)
    page = find_source(load_settings().comfyui_path, None).path / "custom_nodes" / "websocket_image_save.py"
    (tmp_path / "flows").mkdir()
    for name, graph in FLOWS.items():
        (tmp_path / "flows" / f"{name}.json").write_text(json.dumps(graph))
    found_file, html = tmp_path / "found.json", tmp_path / "found.html"
    done = run_script(
        "compare_packs", honest, two_faced, "broken", page, tmp_path / "flows", "--json", found_file, "--html", html,
        COMFY_BASE_DIR=str(user_base),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    found: dict[str, Any] = json.loads(found_file.read_text())
    assert (found["schema"], found["differs"]) == (SCHEMA, True)
    told = {(one["where"], one["kind"], one["what"], one["varies"]) for one in found["differences"]}
    told = {one for one in told if one[0] != "for-the-page.json"}  # See test_pictures_for_the_page.
    assert told == {
        ("two_faced", "classes", "TwoFacedMore", False),
        ("two_faced", "classes", "TwoFacedRaises", False),
        ("two_faced", "classes", "TwoFacedSays", False),
        ("two-faced-draws.json", "files", "b_00001_.png", False),
        ("two-faced-raises.json", "outcome", "", False),
        ("two-faced-says.json", "files", "said.txt", False),
        ("two-faced-says.json", "texts", "node 1", False),
        ("two-faced-says.json", "ui", "node 1", False),
        ("varies.json", "texts", "node 1", True),
        ("varies.json", "ui", "node 1", True),
    }
    outcomes = {name: run["worker"]["outcome"] for name, run in found["workflows"].items()}
    assert outcomes.pop("refused.json") == "refused"
    assert outcomes.pop("two-faced-raises.json") == "failed"
    assert outcomes.pop("z-ends.json") == "ended the process"
    assert set(outcomes.values()) == {SUCCESS}, "also the one after the end of the process"
    assert found["workflows"]["draws.json"]["server"]["files"] == ["ComfyUI_00001_.png", "a/b_00001_.png"]
    assert found["workflows"]["for-the-page.json"]["server"]["files"] == ["sent-1"]
    assert found["workflows"]["for-a-route.json"]["server"]["files"] == ["sent-1"]
    assert found["packs"]["Broken"]["worker"]["error"] == found["packs"]["Broken"]["server"]["error"]
    assert "works on neither: Broken: No module named 'no_such_module'; refused.json: refused" in done.stdout
    assert "files, b_00001_.png: 100.00% of the pixels differ, by 128 of 255 at most" in done.stdout
    assert html.read_text().count("<figure>") == 2
    assert not [path for pack in (honest, two_faced) for path in pack.rglob("*.pyc")], "your packs stay as they are"


@pytest.mark.full
@pytest.mark.timeout(1000)
def test_exit_codes_for_scripts(tmp_path: Path, user_base: Path) -> None:
    workflow = tmp_path / "solid.json"
    workflow.write_text(json.dumps(solid()))
    adds = make_pack(tmp_path, "adds", ADDS)
    done = run_script("compare_packs", "broken", adds, workflow, "--each-node", COMFY_BASE_DIR=str(user_base))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing differs\nworks on neither: Broken: " in done.stdout
    assert " Adds / one" not in done.stdout
    assert " Adds _ one " in done.stdout
    assert "not tried: Upscales: model needs UPSCALE_MODEL, which no class here makes without a model" in done.stdout
    done = run_script("compare_packs", make_pack(tmp_path, "ends", "import os; os._exit(3)"))
    assert (done.returncode, done.stdout) == (3, "")
    assert "compare_packs: the stock server does not start: " in done.stderr


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("[]")
    for given, text in {
        "nothing-of-this-name": "'nothing-of-this-name' is no workflow file, no node pack",
        str(tmp_path / "none.json"): "none.json holds no workflow: its JSON is no object",
    }.items():
        done = run_script("compare_packs", given, COMFY_BASE_DIR=str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert text in done.stderr
        assert "Traceback" not in done.stderr


def test_a_workflow_for_each_node(worker: Worker) -> None:
    """It has what the class needs, is small, and shows what the class gives."""
    cases, untried = each_node(object_info(worker), {"test_nodes"})
    flows = {case.name: case for case in cases}
    assert {"TestShowsText", "TestMakesNoise", "TestUsesSaveImage"} <= flows.keys()
    assert untried == {
        "TestChoosesFolder": "folder has no choice here, such as a model file",
        "TestReadsLora": "lora has no choice here, such as a model file",
    }
    for name, count in {"TestMakesNoise": 1, "TestUsesSaveImage": 1, "TestShowsInPassing": 0}.items():
        result = worker.run(flows[name].job.workflow, {image.name: image.data for image in flows[name].job.images})
        assert len(result.images) == count
    assert result.texts


def written(path: Path, picture: Image.Image, **texts: str) -> Path:
    """Write a PNG with metadata."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    picture.save(path, "PNG", pnginfo=info)
    return path


def test_files_are_compared_as_they_are_when_decoded(tmp_path: Path) -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    other = red.copy()
    other.putpixel((0, 0), (250, 0, 3))
    one = written(tmp_path / "one.png", red)
    red.save(tmp_path / "same.png", compress_level=9)
    assert difference(one, tmp_path / "same.png") is None
    apart = difference(one, written(tmp_path / "other.png", other))
    assert apart == "1.56% of the pixels differ, by 5 of 255 at most"
    assert difference(one, written(tmp_path / "more.png", red, prompt="{}")) == (
        "the same pixels, but other metadata: prompt"
    )
    larger = difference(one, written(tmp_path / "larger.png", red.resize((9, 8))))
    assert larger == "8×8 RGB, 1 frames and 9×8 RGB, 1 frames"
    texts = []
    for name in ("abc", "abd", "abcd"):
        texts.append(tmp_path / name)
        texts[-1].write_text(name)
    assert difference(texts[0], texts[0]) is None
    assert difference(texts[0], texts[1]) == "3 and 3 bytes, different from byte 2 on"
    assert difference(texts[0], texts[2]) == "3 and 4 bytes, the shorter one is the beginning of the other"


def test_videos_and_sounds_are_compared_as_they_are_when_decoded(tmp_path: Path) -> None:
    for name, contents in {"clip.mp4": (video(40), video(90)), "tone.wav": (sound(1), sound(9))}.items():
        one, same, other = (tmp_path / f"{kind}-{name}" for kind in ("one", "same", "other"))
        one.write_bytes(contents[0])
        same.write_bytes(contents[0] + b"\0" * 8)
        other.write_bytes(contents[1])
        assert difference(one, same) is None
        apart = difference(one, other)
        assert apart is not None
        assert apart.startswith("when decoded, ")


def test_files_with_random_names_vary(tmp_path: Path) -> None:
    file = written(tmp_path / "any.png", Image.new("RGB", (8, 8)))
    server, worker, second = (Ran(SUCCESS, files={name: file}) for name in ("1.png", "2.png", "3.png"))
    found = list(of_runs("flow", server, worker))
    assert [one.what for one in found] == ["1.png", "2.png"]
    assert all(one.varies for one in with_varying(found, list(of_runs("flow", server, second))))
    assert not any(one.varies for one in with_varying(found, list(of_runs("flow", server, server))))


def test_what_ran_before_a_node_failed_is_chance() -> None:
    server, worker = Ran(FAILED, nodes=("3",)), Ran(FAILED, nodes=("3",), texts=(("1", "a"),))
    assert not list(of_runs("flow", server, worker))
    assert [one.kind for one in of_runs("flow", server, Ran(FAILED, nodes=("4",)))] == ["outcome"]


@pytest.mark.timeout(60)
def test_a_node_that_sends_without_end_is_stopped_on_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    side = ServerSide(Path(), Path(), (), 0.2, (), Path())
    monkeypatch.setattr(side, "_socket", SimpleNamespace(receive=lambda _: object()), raising=False)
    busy = SimpleNamespace(running=["a"], pending=[])
    monkeypatch.setattr(side, "_api", SimpleNamespace(queue=lambda: busy), raising=False)
    assert not side._follow([])


def test_pictures_for_the_page_must_arrive(tmp_path: Path) -> None:
    sent = written(tmp_path / "sent-1", Image.new("RGB", (8, 8)))
    other = written(tmp_path / "other.png", Image.new("RGB", (8, 8), (9, 9, 9)))
    server = Ran(SUCCESS, sent=(sent,))
    assert not list(of_runs("flow", server, Ran(SUCCESS, files={"under/any/name.png": sent})))
    assert not list(of_runs("flow", server, server)), "a second server sends it again"
    lost, more = of_runs("flow", server, Ran(SUCCESS, files={"other.png": other}))
    assert (lost.what, lost.text) == ("picture 1 for the page", "it does not arrive in the worker's answer")
    assert (more.what, more.text) == ("other.png", "only the worker has it")
