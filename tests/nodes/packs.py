"""Nodes that save, show and send as nodes of well-known packs do."""

from __future__ import annotations

import importlib.util
import io
import threading
import time
import uuid
from pathlib import Path
from typing import Any, ClassVar

import folder_paths
import numpy as np
from aiohttp import web
from comfy_execution.graph_utils import GraphBuilder
from PIL import Image
from server import BinaryEventTypes, PromptServer

import nodes


def _picture(image: Any) -> Image.Image:
    return Image.fromarray(np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8))


class _Output:
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"


class SavesWithTags(_Output):
    """Saves a picture and its tags, and names only a preview, as LayerStyle's ImageTaggerSave."""

    runs: ClassVar[list[int]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "tags": ("STRING", {})}}

    def run(self, image: Any, tags: str) -> dict[str, Any]:
        self.runs.append(1)
        folder, name, counter, _, _ = folder_paths.get_save_image_path("tagged", folder_paths.get_output_directory())
        _picture(image[0]).save(Path(folder, f"{name}_{counter:08}.png"))
        Path(folder, f"{name}_{counter:08}.txt").write_text(tags)
        preview = Path(folder_paths.get_temp_directory(), "_savepreview_x")
        preview.mkdir(parents=True, exist_ok=True)
        _picture(image[0]).save(preview / "p.png")
        return {"ui": {"images": [{"filename": "p.png", "subfolder": "_savepreview_x", "type": "temp"}]}}


class SavesWithCaption(_Output):
    """Saves a picture, which it names, and a caption of ``size`` bytes beside it, which it does not."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "size": ("INT", {"max": 10**9})}}

    def run(self, image: Any, size: int) -> dict[str, Any]:
        output = Path(folder_paths.get_output_directory(), "captioned")
        output.mkdir(exist_ok=True)
        _picture(image[0]).save(output / "a.png")
        (output / "a.caption").write_text("c" * size)
        return {"ui": {"images": [{"filename": "a.png", "subfolder": "captioned", "type": "output"}]}}


class SavesUnnamed(_Output):
    """Saves ``content`` and says nothing."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "filename": ("STRING", {}), "content": ("STRING", {})}}

    def run(self, image: Any, filename: str, content: str) -> dict[str, Any]:
        Path(folder_paths.get_output_directory(), filename).write_text(content)
        return {}


class SavesInPassing(SavesUnnamed):
    """The same, as a node that hands its image on and is no output node."""

    RETURN_TYPES = ("IMAGE",)
    OUTPUT_NODE = False

    def run(self, image: Any, filename: str, content: str) -> Any:
        super().run(image, filename, content)
        return (image,)


class ShowsInPassing(_Output):
    """Saves and shows a text, as a node that hands it on and is no output node. Crystools' JSON reader is one."""

    RETURN_TYPES = ("STRING",)
    OUTPUT_NODE = False

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"text": ("STRING", {})}}

    def run(self, text: str) -> dict[str, Any]:
        Path(folder_paths.get_output_directory(), "passing.txt").write_text(text)
        entry = {"filename": "passing.txt", "subfolder": "", "type": "output"}
        return {"ui": {"text": [text], "files": [entry]}, "result": (text,)}


class SavesLater(SavesUnnamed):
    """The same, on a thread, while later nodes run."""

    def run(self, image: Any, filename: str, content: str) -> dict[str, Any]:
        threading.Timer(0.3, super().run, (image, filename, content)).start()
        return {}


class ExpandsIntoUnnamed(_Output):
    """Becomes a subgraph with a node that saves without naming."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> dict[str, Any]:
        builder = GraphBuilder()
        builder.node("TestSavesUnnamed", image=image, filename="inner.txt", content="x")
        return {"result": (), "expand": builder.finalize()}


class TakesASecond:
    """Hands its image on after a second."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> tuple[Any]:
        time.sleep(1)
        return (image,)


class SendsPictures(_Output):
    """Sends its images to the page and names them, as nodes of tooling-nodes and Comfyroll."""

    runs: ClassVar[list[int]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"images": ("IMAGE",), "form": (["PNG", "JPEG"],)}}

    def run(self, images: Any, form: str) -> dict[str, Any]:
        self.runs.append(1)
        server = PromptServer.instance
        for image in images:
            server.send_sync(BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, [form, _picture(image), None], server.client_id)
        entry = {"source": "websocket", "content-type": f"image/{form.lower()}", "type": "output"}
        return {"ui": {"images": [entry] * len(images)}}


class ClaimsPictures(_Output):
    """Names a picture that it does not send."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"entry": ("STRING", {})}}

    def run(self, entry: str) -> dict[str, Any]:
        return {"ui": {"images": [{"source": entry, "id": "none", "type": "output"}]}}


class CachesPictures(_Output):
    """Keeps its images for a route, and names them, as a node of tooling-nodes."""

    images: ClassVar[dict[str, bytes]] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: Any) -> dict[str, Any]:
        entries = []
        for image in images:
            key, content = uuid.uuid4().hex, io.BytesIO()
            _picture(image).save(content, "PNG")
            self.images[key] = content.getvalue()
            entries.append({"source": "http", "id": key, "content-type": "image/png", "type": "output"})
        return {"ui": {"images": entries}}


@PromptServer.instance.routes.get("/etn/image/{id}")  # type: ignore[untyped-decorator]
async def cached_picture(request: web.Request) -> web.Response:
    data = CachesPictures.images.get(request.match_info["id"])
    if data is None:
        return web.json_response({"error": "Image not found"}, status=404)

    async def pieces() -> Any:
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    return web.Response(body=pieces(), content_type="image/png", headers={"Content-Length": str(len(data))})


class PreviewsAndSaves(_Output):
    """Sends previews while it works, as samplers that are output nodes, and saves."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: Any) -> dict[str, Any]:
        server = PromptServer.instance
        for limit, name in ((512, "JPEG"), (512, "PNG"), (None, "PNG")):
            preview = [name, _picture(images[0]), limit]
            server.send_sync(BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, preview, server.client_id)
        return dict(nodes.SaveImage().save_images(images, "sampled"))  # type: ignore[attr-defined]


def _core_node() -> Any:
    """SaveImageWebsocket, which ComfyUI has among its custom nodes."""
    file = Path(nodes.__file__).parent / "custom_nodes" / "websocket_image_save.py"
    spec = importlib.util.spec_from_file_location("websocket_image_save", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SaveImageWebsocket


SAVE_IMAGE_WEBSOCKET = _core_node()
CLASSES = (
    SendsPictures,
    ClaimsPictures,
    CachesPictures,
    PreviewsAndSaves,
    SavesWithTags,
    SavesWithCaption,
    SavesUnnamed,
    SavesInPassing,
    ShowsInPassing,
    SavesLater,
    TakesASecond,
    ExpandsIntoUnnamed,
)
