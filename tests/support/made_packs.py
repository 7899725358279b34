"""Node packs that are made on the spot: quiet ones, and one for each thing that the index must notice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_PACK = """
{code}

class {name}:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = ("STRING",), "run", "test", True

    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"text": ("STRING", {{"default": "a"}})}}}}

    def run(self, text):
        return {{"ui": {{"text": [f"{{text}} {name}"]}}, "result": (text,)}}

NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
NODE_DISPLAY_NAME_MAPPINGS = {{"{name}": "The {name}"}}
"""
V3 = """
from comfy_api.latest import ComfyExtension, io

class V3(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="QuietV3", display_name="V three", category="test", is_output_node=True,
                         inputs=[io.String.Input("text")], outputs=[])

    @classmethod
    def execute(cls, text):
        return io.NodeOutput(ui={"text": [f"{text} QuietV3"]})

class Extension(ComfyExtension):
    async def get_node_list(self):
        return [V3]

async def comfy_entrypoint():
    return Extension()
"""
_SERVER = "from server import PromptServer\n"
# Code of a pack → a word of the reason why it is imported at the start.
NOTICED = {
    "Routes": (f"{_SERVER}@PromptServer.instance.routes.get('/x')\nasync def x(r): ...", "routes"),
    "Handler": (f"{_SERVER}PromptServer.instance.add_on_prompt_handler(lambda d: d)", "on-prompt"),
    "Attribute": (f"{_SERVER}PromptServer.instance.mine = 1", "changes ComfyUI's server"),
    "Signals": ("import signal\nsignal.signal(signal.SIGUSR1, lambda *a: None)", "signals"),
    "Wraps": (
        "import functools, comfy.sample as s\nold = s.sample\n@functools.wraps(old)\n"
        "def new(*a, **k): return old(*a, **k)\ns.sample = new",
        "replaces comfy.sample.sample",
    ),
    "Method": ("import comfy.model_patcher as m\nm.ModelPatcher.mine = lambda self: 1", "ModelPatcher.mine"),
    "Torch": ("import torch\nold = torch.load\ntorch.load = lambda *a, **k: old(*a, **k)", "replaces torch.load"),
    "TorchState": ("import torch\ntorch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark", "of torch"),
    "Pillow": ("import PIL.ImageFile\nPIL.ImageFile.LOAD_TRUNCATED_IMAGES = True", "LOAD_TRUNCATED_IMAGES"),
    "PillowKind": ("import PIL.Image\nPIL.Image.register_extension('X', '.x')", "PIL.Image.EXTENSION"),
    "Numpy": ("import numpy\nnumpy.mine = float", "adds numpy.mine"),
    "Samplers": ("import comfy.samplers as s\ns.KSampler.SAMPLERS.append('mine')", "KSampler.SAMPLERS"),
    "Folders": ("import folder_paths\nfolder_paths.add_model_folder_path('mine', '/x')", "folders of models"),
    "Web": ("import nodes\nnodes.EXTENSION_WEB_DIRS['mine'] = '/tmp'", "page"),
    "Thread": ("import threading as t, time\nt.Thread(target=time.sleep, args=(99,), daemon=True).start()", "threads"),
    "Path": ("import os, sys\nsys.path.append(os.path.dirname(__file__))", "finds modules"),
    "Variable": ("import os\nos.environ['MINE'] = '1'", "environment"),
    "Module": ("import json, sys, types\nsys.modules['csv'] = types.ModuleType('csv')", "replaces the module csv"),
    "Named": ("import sys\nsys.modules['my_short_name'] = sys.modules[__name__]", "found as my_short_name"),
    "Mapping": ("import nodes\nnodes.NODE_CLASS_MAPPINGS['Mine'] = object", "NODE_CLASS_MAPPINGS itself"),
    "Looks": ("import nodes\nthere = 'Quiet' in nodes.NODE_CLASS_MAPPINGS", "node classes of other packs: Quiet"),
    "LooksAll": ("import nodes\nall_of_them = list(nodes.NODE_CLASS_MAPPINGS.items())", "looks at all"),
    "Input": (
        "import folder_paths, os\nopen(os.path.join(folder_paths.get_input_directory(), 'mine.txt'), 'w').close()",
        "in ComfyUI's folders",
    ),
    "Fails": ("raise RuntimeError('no card')", "cannot be imported"),
    "Exits": ("raise SystemExit(3)", "cannot be imported"),
    "Task": ("import asyncio\ntask = asyncio.get_running_loop().create_task(asyncio.sleep(99))", "tasks"),
}  # fmt: skip
QUIET = {
    "Quiet": "import json, threading, comfy.samplers, nodes\nsampler = nodes.NODE_CLASS_MAPPINGS['KSampler']",
    "QuietHeavy": "import torchvision, scipy.stats, kornia\nloaded = torchvision.transforms.Resize, kornia.color",
    "QuietWeb": "WEB_DIRECTORY = 'js'",
    "QuietReads": "import json, os\nlevel = json.load(open(os.path.join(os.path.dirname(__file__), 'level.json')))",
}


def make_pack(folder: Path, name: str, code: str = "") -> Path:
    """Make a pack with one node class in ``folder``: both are called ``name``. Its node tells its text and its name."""
    pack = folder / name
    (pack / "js").mkdir(parents=True)
    (pack / "level.json").write_text("3")
    (pack / "__init__.py").write_text(_PACK.format(code=code, name=name))
    return pack


def make_packs(folder: Path, noticed: Iterable[str] = tuple(NOTICED)) -> None:
    """Make some of ``NOTICED``, all of ``QUIET``, one of the newer interface, one of one file, one with a script."""
    for name, code in QUIET.items():
        make_pack(folder, name, code)
    for name in noticed:
        make_pack(folder, name, NOTICED[name][0])
    (folder / "QuietV3").mkdir()
    (folder / "QuietV3" / "__init__.py").write_text(V3)
    (folder / "QuietFile.py").write_text(_PACK.format(code="", name="QuietFile"))
    (make_pack(folder, "Prestart") / "prestartup_script.py").write_text("import os\n")
