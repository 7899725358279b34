"""Workflows that the tests run."""

from __future__ import annotations

from typing import Any

Graph = dict[str, Any]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node."""
    return {"class_type": class_type, "inputs": inputs}


def solid(color: int = 0xFF0000, width: int = 64, height: int = 64, batch: int = 1) -> Graph:
    """EmptyImage → SaveImage: nodes 1 and 2."""
    return {
        "1": node("EmptyImage", width=width, height=height, batch_size=batch, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix="ComfyUI"),
    }


def through(class_type: str, color: int = 0xFF0000, **inputs: Any) -> Graph:
    """EmptyImage → a node with an ``image`` input (node 3) → SaveImage."""
    graph = solid(color)
    graph["3"] = node(class_type, image=["1", 0], **inputs)
    graph["2"]["inputs"]["images"] = ["3", 0]
    return graph


def load(name: str) -> Graph:
    """LoadImage → SaveImage."""
    return {
        "1": node("LoadImage", image=name),
        "2": node("SaveImage", images=["1", 0], filename_prefix="ComfyUI"),
    }


def text_to_image(seed: int = 1, steps: int = 2, size: int = 64, checkpoint: str = "tiny-sd.safetensors") -> Graph:
    """The default workflow of ComfyUI, on the tiny checkpoint."""
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "5": node("EmptyLatentImage", width=size, height=size, batch_size=1),
        "6": node("CLIPTextEncode", text="a lake", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="", clip=["4", 1]),
        "3": node("KSampler", seed=seed, steps=steps, cfg=4.0, sampler_name="euler", scheduler="normal", denoise=1.0,
                  model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="ComfyUI"),
    }  # fmt: skip


def decoded(checkpoint: str, size: int = 64) -> Graph:
    """CheckpointLoaderSimple → VAEDecode of an empty latent → SaveImage: all is loaded, and little is computed."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "2": node("EmptyLatentImage", width=size, height=size, batch_size=1),
        "3": node("VAEDecode", samples=["2", 0], vae=["1", 2]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="ComfyUI"),
    }


def titled(graph: Graph, **titles: str) -> Graph:
    """``graph`` with titles, by node id with an ``n`` before it."""
    return {
        node_id: entry | ({"_meta": {"title": titles[f"n{node_id}"]}} if f"n{node_id}" in titles else {})
        for node_id, entry in graph.items()
    }


def editors(color: int = 0x102030, width: int = 16, prefix: str = "ComfyUI") -> Graph:
    """EmptyImage → SaveImage, with a note and a bypassed node between them, as the editor saves it."""
    image = {"name": "IMAGE", "type": "IMAGE"}
    return {
        "last_node_id": 4,
        "last_link_id": 2,
        "nodes": [
            {"id": 1, "type": "EmptyImage", "title": "Canvas", "inputs": [], "outputs": [{**image, "links": [1]}],
             "widgets_values": [width, 16, 1, color]},
            {"id": 3, "type": "ImageInvert", "mode": 4, "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
             "outputs": [{**image, "links": [2]}]},
            {"id": 2, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 2}],
             "outputs": [], "widgets_values": [prefix]},
            {"id": 4, "type": "Note", "inputs": [], "outputs": [], "widgets_values": ["a note"]},
        ],
        "links": [[1, 1, 0, 3, 0, "IMAGE"], [2, 3, 0, 2, 0, "IMAGE"]],
        "version": 0.4,
    }  # fmt: skip
