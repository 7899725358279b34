"""Prints the layers of an image in buildah's store, with their sizes. See ``scripts/build_image``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_SHORTEST = 1_000_000


def main() -> int:
    """Print the table of layers of the image that the first argument names."""
    image = json.loads(_buildah("inspect", "--type", "image", sys.argv[1]))["Docker"]
    sizes = _sizes()
    compressed = _compressed_sizes(sys.argv[1]) if "--compressed" in sys.argv[2:] else None
    texts = [_text(entry["created_by"]) for entry in image["history"] if not entry.get("empty_layer")]
    digests = image["rootfs"]["diff_ids"]
    layers = list(zip((sizes[digest] for digest in digests), compressed or [0] * len(digests), texts, strict=True))
    small = [layer for layer in layers if layer[0] < _SHORTEST]
    print(f"{'MB':>8}  {'gzip':>7}  layer" if compressed else f"{'MB':>8}  layer")
    for layer in layers:
        if layer not in small:
            _print(*layer)
    for group, text in ((small, f"{len(small)} layers below 1 MB: the worker and its scripts"), (layers, "together")):
        _print(sum(size for size, _, _ in group), sum(packed for _, packed, _ in group), text)
    return 0


def _print(size: int, packed: int, text: str) -> None:
    print(f"{size / 1e6:8.1f}  {packed / 1e6:7.1f}  {text}" if packed else f"{size / 1e6:8.1f}  {text}")


def _compressed_sizes(image: str) -> list[int]:
    """Bytes of each layer as a registry would send it."""
    with tempfile.TemporaryDirectory() as folder:
        _buildah("push", "--quiet", image, f"dir:{folder}")
        manifest: dict[str, Any] = json.loads((Path(folder) / "manifest.json").read_text())
    return [layer["size"] for layer in manifest["layers"]]


def _buildah(*arguments: str) -> str:
    command = ["buildah", "--storage-driver", "overlay", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _sizes() -> dict[str, int]:
    """Bytes of each layer by its digest, as buildah's store keeps them."""
    store: dict[str, Any] = json.loads(_buildah("info"))["store"]
    layers = json.loads((Path(store["GraphRoot"]) / "overlay-layers" / "layers.json").read_text())
    return {layer["diff-digest"]: layer["diff-size"] for layer in layers if "diff-digest" in layer}


def _text(created_by: str) -> str:
    """The Dockerfile's instruction, without the words that every entry begins with."""
    text = re.sub(r"^(\|\d+ .*?)?/bin/sh -c (#\(nop\) )?", "", created_by)
    text = re.sub(r"--mount=\S+\s+", "", text)
    text = "base image" if text == "/bin/sh" else " ".join(text.split())
    return re.sub(r"(dir|file|multi):[0-9a-f]{64}", "…", text)[:80]


if __name__ == "__main__":
    sys.exit(main())
