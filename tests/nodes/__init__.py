"""A custom node pack for the tests: nodes that behave as some in the wild do."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import time
import types
from pathlib import Path
from typing import Any, ClassVar

import comfy.utils
import folder_paths
import server
import torch
from comfy_execution.graph import ExecutionBlocker
from PIL import Image

import nodes

from . import device, faults, kernels, models, packs, page, progress, readers, stock


class Raises:
    """Raises with a text that names a folder of the machine and the caller's API key."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name.
        return {"required": {"image": ("IMAGE",)}, "optional": {"kind": ("STRING", {"default": "ValueError"})},
                "hidden": {"key": "API_KEY_COMFY_ORG"}}  # fmt: skip

    def run(self, image: Any, kind: str = "ValueError", key: str | None = None) -> tuple[Any]:
        text = f"cannot read {Path(folder_paths.get_output_directory()).absolute()}/secret.bin with {key}"
        if kind == "SystemExit":
            raise SystemExit(text)
        if kind == "KeyboardInterrupt":
            raise KeyboardInterrupt(text)
        raise ValueError(text)


class Sleeps:
    """Takes ``steps`` steps of 20 ms, and tells each; it can be interrupted at each."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"
    started: ClassVar[list[str]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "steps": ("INT", {"default": 5, "min": 1, "max": 100000})},
                "hidden": {"node_id": "UNIQUE_ID"}}  # fmt: skip

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802
        return float("nan")

    def run(self, image: Any, steps: int, node_id: str) -> tuple[Any]:
        self.started.append(node_id)
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            time.sleep(0.02)
            bar.update(1)
        return (image,)


class ShowsText:
    """An output node that shows a text, and passes on what it was asked for."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"text": ("STRING", {"default": ""})}, "hidden": {"key": "API_KEY_COMFY_ORG"}}

    def run(self, text: str, key: str | None = None) -> dict[str, Any]:
        return {"ui": {"text": [text.replace("{key}", str(key))]}}


class ShowsEditorData:
    """Shows what the editor has added to the graph."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {}, "hidden": {"data": "EXTRA_PNGINFO"}}

    def run(self, data: Any) -> dict[str, Any]:
        return {"ui": {"text": [json.dumps(data)]}}


class SavesFile:
    """Saves ``content`` under any ui key and name, as packs with formats of their own do."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"key": ("STRING", {}), "subfolder": ("STRING", {}), "filename": ("STRING", {}),
                             "content": ("STRING", {})},
                "optional": {"named": ("STRING", {"default": ""}),
                             "in_full": ("BOOLEAN", {"default": False})}}  # fmt: skip

    def run(
        self, key: str, subfolder: str, filename: str, content: str, named: str = "", *, in_full: bool = False
    ) -> dict[str, Any]:
        path = Path(folder_paths.get_output_directory()) / subfolder / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        folder = str(path.parent) if in_full else subfolder
        return {"ui": {key: [{"filename": named or filename, "subfolder": folder, "type": "output"}]}}


class SavesInEachFolder:
    """Saves files of one name into the output, the input and the temp folder, and names all of them."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"subfolders": ("STRING", {})}}

    def run(self, subfolders: str) -> dict[str, Any]:
        entries = []
        for subfolder in subfolders.split(","):
            for kind in ("output", "input", "temp"):
                path = Path(folder_paths.get_directory_by_type(kind) or "") / subfolder / "a.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{kind} {subfolder}".strip())
                entries.append({"filename": "a.txt", "subfolder": subfolder, "type": kind})
        return {"ui": {"files": entries}}


class Shows:
    """Returns any ui dict, as JSON or as Python code gives it."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"ui": ("STRING", {})}}

    def run(self, ui: str) -> dict[str, Any]:
        return {"ui": eval(ui, {})}  # noqa: S307 - it is the test's own text.


class Blocks:
    """Hands on a blocker with a message in place of the image."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> tuple[Any]:
        return (ExecutionBlocker("nothing to see"),)


class CountsRuns:
    """Passes the image on; how often it ran stands in ``runs``."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"
    runs: ClassVar[list[int]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> tuple[Any]:
        self.runs.append(1)
        return (image,)


class MakesNoise:
    """An image of noise, which no compression makes smaller."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"width": ("INT", {}), "height": ("INT", {})}}

    def run(self, width: int, height: int) -> tuple[Any]:
        return (torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(1)),)


class Logs:
    """Logs what it was asked for, as ComfyUI's own nodes do: through the root logger."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "text": ("STRING", {})}, "hidden": {"key": "API_KEY_COMFY_ORG"}}

    def run(self, image: Any, text: str, key: str | None = None) -> tuple[Any]:
        logging.info("TestLogs said %s with key %s", text, key)
        logging.debug("TestLogs whispered")
        return (image,)


class IgnoresInterrupts:
    """Works on, whoever tells it to stop; tells of one step."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "seconds": ("INT", {"default": 1})}}

    def run(self, image: Any, seconds: int) -> tuple[Any]:
        comfy.utils.ProgressBar(2).update(1)
        time.sleep(seconds)
        return (image,)


class MakesVoxels:
    """A cube."""

    RETURN_TYPES = ("VOXEL",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {}}

    def run(self) -> tuple[Any]:
        data = torch.zeros(1, 8, 8, 8)
        data[:, 2:6, 2:6, 2:6] = 1
        return (types.SimpleNamespace(data=data),)


class OpensOutputs:
    """Opens every picture in the output folder."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> dict[str, Any]:
        seen = []
        for path in sorted(Path(folder_paths.get_output_directory()).glob("*.png")):
            with Image.open(path) as picture:
                picture.load()
                seen.append(f"{path.name} {picture.width}x{picture.height}")
        return {"ui": {"text": [", ".join(seen)]}}


class AfterSaving:
    """Passes the image on as soon as another node has saved ``path``."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "path": ("STRING", {})}}

    async def run(self, image: Any, path: str) -> tuple[Any]:
        for _ in range(1000):
            if (Path(folder_paths.get_output_directory()) / path).exists():
                break
            await asyncio.sleep(0.01)
        return (image,)


class SavesPicture:
    """Saves the image under any name."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "filename": ("STRING", {})}}

    def run(self, image: Any, filename: str) -> dict[str, Any]:
        pixels = (image[0].numpy() * 255).astype("uint8")
        Image.fromarray(pixels).save(Path(folder_paths.get_output_directory()) / filename, lossless=True)
        return {"ui": {"images": [{"filename": filename, "subfolder": "", "type": "output"}]}}


class SendsMessages:
    """Sends messages of its own under names of ComfyUI's."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> tuple[Any]:
        for name in (
            "executing", "executed", "execution_cached", "execution_error", "execution_start", "execution_success",
            "execution_interrupted", "progress", "progress_state", "status",
        ):  # fmt: skip
            data: Any
            for data in (
                {"value": 1}, {"node": 5, "nodes": 3, "output": []}, None, "text", 5, [1], {"node": "2", "output": [1]},
                {"node": "2", "output": {"images": [{"filename": ["x"], "type": "output"}, 5], "x": 5}},
                {"nodes": [{}, None]}, {"nodes": ["1", "2", "none"]}, {"exception_type": "ExecutionBlock"},
            ):  # fmt: skip
                server.PromptServer.instance.send_sync(name, data)
        return (image,)


class SendsFrames(SendsMessages):
    """Sends binary messages of its own, which would end a stock server's loop."""

    def run(self, image: Any) -> tuple[Any]:
        for number in (*range(1, 5), 99):
            for data in (None, "text", 5, (), (1,), [1, 2], ((1, 2), 3), ((1, 2, 3), 4), {"node": 1}, b""):
                server.PromptServer.instance.send_sync(number, data)
        for name in (None, ["x"], object()):
            server.PromptServer.instance.send_sync(name, {"node": "2"})
        return (image,)


class UsesSaveImage:
    """Saves with ComfyUI's node, as some packs do, and goes on with the file."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: Any) -> dict[str, Any]:
        ui = nodes.SaveImage().save_images(images, "used")["ui"]  # type: ignore[attr-defined]
        with Image.open(Path(folder_paths.get_output_directory()) / ui["images"][0]["filename"]) as picture:
            picture.load()
            return {"ui": {**ui, "text": [f"{picture.width}x{picture.height}"]}}


class InheritsSaveImage(nodes.SaveImage):  # type: ignore[misc, name-defined]
    """A subclass of SaveImage with a prefix of its own."""

    CATEGORY = "test"

    def __init__(self) -> None:
        super().__init__()
        self.prefix_append = "_own"


class SavesExtraMetadata(nodes.SaveImage):  # type: ignore[misc, name-defined]
    """Adds metadata of the caller's to what SaveImage writes into its file."""

    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"images": ("IMAGE",), "author": ("STRING", {})}}

    FUNCTION = "run"

    def run(self, images: Any, author: str) -> Any:
        return self.save_images(images, "extra", None, {"author": author})


class ChoosesFolder:
    """Offers the folders in the output folder, and saves a file into the one that is chosen."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        output = Path(folder_paths.get_output_directory())
        return {"required": {"folder": (sorted(path.name for path in output.iterdir() if path.is_dir()),)}}

    def run(self, folder: str) -> dict[str, Any]:
        (Path(folder_paths.get_output_directory()) / folder / "chosen.txt").write_text(folder)
        return {"ui": {"files": [{"filename": "chosen.txt", "subfolder": folder, "type": "output"}]}}


class MakesSVG:
    """A drawing."""

    RETURN_TYPES = ("SVG",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {}}

    def run(self) -> tuple[Any]:
        return (types.SimpleNamespace(data=[io.BytesIO(b'<svg xmlns="http://www.w3.org/2000/svg"/>')]),)


class LeavesThread:
    """Leaves a thread behind that never ends and is no daemon."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> tuple[Any]:
        threading.Thread(target=threading.Event().wait, name="left-behind").start()
        return (image,)


WEB_DIRECTORY = "./web"
NODE_CLASS_MAPPINGS = {
    f"Test{node.__name__}": node
    for node in (
        Raises,
        Sleeps,
        ShowsEditorData,
        ShowsText,
        SavesFile,
        SavesInEachFolder,
        Shows,
        Blocks,
        CountsRuns,
        MakesNoise,
        Logs,
        LeavesThread,
        MakesSVG,
        OpensOutputs,
        UsesSaveImage,
        AfterSaving,
        SavesPicture,
        SendsFrames,
        SendsMessages,
        InheritsSaveImage,
        SavesExtraMetadata,
        ChoosesFolder,
        MakesVoxels,
        IgnoresInterrupts,
        *faults.CLASSES,
        *device.CLASSES,
        *kernels.CLASSES,
        page.WaitsForPage,
        page.AwaitsPage,
        *packs.CLASSES,
        *readers.CLASSES,
        *progress.CLASSES,
        *stock.CLASSES,
        models.ReadsLora,
        models.ReadsAnyModel,
    )
}
NODE_CLASS_MAPPINGS["SaveImageWebsocket"] = packs.SAVE_IMAGE_WEBSOCKET
