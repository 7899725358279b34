"""Nodes and hooks that lean on what a stock ComfyUI server gives a pack."""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import comfy.samplers
import folder_paths
from aiohttp import web
from server import PromptServer

# ComfyUI's module, which has the name of the folder this file lies in.
nodes: Any = importlib.import_module("nodes")
SERVER_AT_IMPORT = PromptServer.instance
LOOP_AT_IMPORT = PromptServer.instance.loop
OUTPUT_AT_IMPORT = folder_paths.get_output_directory()
MAIN_THREAD_AT_IMPORT = threading.current_thread() is threading.main_thread()


@PromptServer.instance.routes.get("/test_nodes/hello")  # type: ignore[untyped-decorator]
async def hello(_: web.Request) -> web.Response:
    """A route of the pack's own."""
    return web.json_response({"hello": "from the pack"})


def populate(json_data: dict[str, Any]) -> dict[str, Any]:
    """An on-prompt handler that writes into the graph, as wildcard packs do."""
    for node in json_data["prompt"].values():
        if node.get("class_type") == "TestPopulated":
            node["inputs"]["text"] = "populated by the handler"
    return json_data


PromptServer.instance.add_on_prompt_handler(populate)

_ksampler = comfy.samplers.KSampler.sample
SAMPLER_CALLS: list[int] = []


def _counting_sample(self: Any, *args: Any, **kwargs: Any) -> Any:
    SAMPLER_CALLS.append(1)
    return _ksampler(self, *args, **kwargs)


comfy.samplers.KSampler.sample = _counting_sample


class Populated:
    """Shows a text that only the on-prompt handler can have put there."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"text": ("STRING", {})}}

    def run(self, text: str) -> dict[str, Any]:
        return {"ui": {"text": [text]}}


class SavesSomewhereElse(nodes.SaveImage):  # type: ignore[misc]  # ComfyUI has no types.
    """A save node that inherits from SaveImage and saves where the output folder was when it was imported."""

    def __init__(self) -> None:
        super().__init__()
        self.output_dir = OUTPUT_AT_IMPORT
        self.prefix_append = "_sub"


class UsesLoop:
    """Schedules a coroutine on the server's loop, and sends messages of its own."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"text": ("STRING", {})}, "hidden": {"node_id": "UNIQUE_ID"}}

    def run(self, text: str, node_id: str) -> dict[str, Any]:
        async def answer() -> str:
            await asyncio.sleep(0.001)
            return f"{text} on {'the' if asyncio.get_running_loop() is LOOP_AT_IMPORT else 'another'} loop"

        said = asyncio.run_coroutine_threadsafe(answer(), PromptServer.instance.loop).result(5)
        SERVER_AT_IMPORT.send_sync("test_nodes.said", {"said": said}, SERVER_AT_IMPORT.client_id)
        SERVER_AT_IMPORT.send_progress_text("almost", node_id)
        return {"ui": {"text": [said]}}


class QueuesAgain:
    """Puts its own prompt into the server's queue until it has run ``times`` times, as batch packs do."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"
    count: ClassVar[int] = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"times": ("INT", {"default": 3})}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802
        return float("nan")

    def run(self, times: int) -> dict[str, Any]:
        queue = PromptServer.instance.prompt_queue
        (running,) = queue.currently_running.values()
        type(self).count += 1
        if type(self).count < times:
            number, prompt_id, *rest = running
            queue.put((-number, f"{prompt_id}-{type(self).count}", *rest))
            return {"ui": {}}
        text, type(self).count = f"ran {type(self).count} times", 0
        return {"ui": {"text": [text]}}


class SamplesAndSaves:
    """A sampler that is an output node: it computes, hands on what it computed, and saves a picture of it."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "filename_prefix": ("STRING", {"default": "sampled"})}}

    def run(self, image: Any, filename_prefix: str) -> dict[str, Any]:
        computed = 1.0 - image
        saved = nodes.SaveImage().save_images(computed, filename_prefix)
        return {"ui": saved["ui"], "result": (computed,)}


class LoadsByName:
    """Reads a file of the input folder, and tells ComfyUI nothing of what is in it."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"file": ("STRING", {})}}

    def run(self, file: str) -> tuple[str]:
        from PIL import Image

        with Image.open(Path(folder_paths.get_input_directory()) / file) as image:
            return (str(image.convert("RGB").getpixel((0, 0))),)


class Uploads:
    """Has an upload widget of its own kind, and leaves it to ComfyUI to compare the name with those there are."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        files = sorted(path.name for path in Path(folder_paths.get_input_directory()).iterdir())
        return {"required": {"clip": (files, {"clip_upload": True})}}

    def run(self, clip: str) -> tuple[str]:
        return (clip,)


class ValidationRaises:
    """Its VALIDATE_INPUTS raises, as some do for values they did not think of."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"value": ("INT", {"default": 0})}}

    @classmethod
    def VALIDATE_INPUTS(cls, value: int) -> bool:  # noqa: N802
        raise TypeError(f"cannot validate {value} in /root/secret/place")

    def run(self, value: int) -> dict[str, Any]:
        return {"ui": {}}


class Expands:
    """Becomes a graph of its own: a counting node and a save node inside."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> dict[str, Any]:
        from comfy_execution.graph_utils import GraphBuilder

        graph = GraphBuilder()
        counted = graph.node("TestCountsRuns", image=image)
        graph.node("SaveImage", images=counted.out(0), filename_prefix="inside")
        return {"result": (counted.out(0),), "expand": graph.finalize()}


class LeavesTaskRunning:
    """An async node that leaves a task behind."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"
    finished: ClassVar[list[float]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    async def run(self, image: Any) -> tuple[Any]:
        async def later() -> None:
            await asyncio.sleep(0.2)
            self.finished.append(time.time())

        self.task = asyncio.create_task(later())
        await asyncio.sleep(0)
        return (image,)


class Counter:
    """Hands on itself, as batch packs do: what it has counted stays with the instance."""

    RETURN_TYPES = ("COUNTER",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"start": ("INT", {"default": 0})}}

    def run(self, start: int) -> tuple[Any]:
        self.value = start
        return (self,)


class Counts:
    """Counts on with a Counter, and shows where it stands."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"counter": ("COUNTER",), "fail": ("BOOLEAN", {"default": False})}}

    def run(self, counter: Any, fail: bool) -> dict[str, Any]:
        counter.value += 1
        if fail:
            raise ValueError("cut short")
        return {"ui": {"text": [str(counter.value)]}}


class ValidationExits:
    """Its VALIDATE_INPUTS calls ``sys.exit``."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"value": ("INT", {"default": 0})}}

    @classmethod
    def VALIDATE_INPUTS(cls, value: int) -> bool:  # noqa: N802
        raise SystemExit(value)

    def run(self, value: int) -> dict[str, Any]:
        return {"ui": {}}


class SeesGraph:
    """Shows the texts of the whole graph, which it is given as a hidden input."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {}, "hidden": {"prompt": "PROMPT"}}

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        return {"ui": {"text": [str(node["inputs"].get("text")) for node in prompt.values()]}}


class QueuesLate:
    """Leaves a task on the server's loop that queues a prompt when its job has long ended."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {}}

    @classmethod
    def IS_CHANGED(cls) -> float:  # noqa: N802
        return float("nan")

    def run(self) -> dict[str, Any]:
        async def later() -> None:
            await asyncio.sleep(0.1)
            graph = {"1": {"class_type": "TestShowsText", "inputs": {"text": "stray"}}}
            PromptServer.instance.prompt_queue.put((0, "stray", graph, {"client_id": "x"}, ["1"], {}))

        asyncio.run_coroutine_threadsafe(later(), PromptServer.instance.loop)
        return {"ui": {}}


class Interrupts:
    """Interrupts its own prompt, and sends a message under one of ComfyUI's names in a shape of its own."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "interrupt": ("BOOLEAN", {"default": True})}}

    def run(self, image: Any, interrupt: bool) -> tuple[Any]:
        PromptServer.instance.send_sync("progress", {"node": "1", "text": "not a number"})
        if interrupt:
            nodes.interrupt_processing()
        return (image,)


CLASSES = (
    Populated, SavesSomewhereElse, UsesLoop, QueuesAgain, SamplesAndSaves, LoadsByName, ValidationRaises, Expands,
    LeavesTaskRunning, Counter, Counts, ValidationExits, SeesGraph, QueuesLate, Interrupts, Uploads,
)  # fmt: skip
