"""Prints the layers of an image in buildah's store, with their sizes. See ``scripts/build_image``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_SHORTEST = 1_000_000


def main() -> int:
    """Print the table of the image that the first argument names."""
    image = json.loads(_buildah("inspect", "--type", "image", sys.argv[1]))["Docker"]
    sizes = _sizes()
    texts = [_text(entry["created_by"]) for entry in image["history"] if not entry.get("empty_layer")]
    layers = [(sizes[digest], text) for digest, text in zip(image["rootfs"]["diff_ids"], texts, strict=True)]
    small = [size for size, _ in layers if size < _SHORTEST]
    print(f"{'MB':>8}  layer (unpacked)")
    for size, text in layers:
        if size >= _SHORTEST:
            print(f"{size / 1e6:8.1f}  {text}")
    print(f"{sum(small) / 1e6:8.1f}  {len(small)} layers below 1 MB: the worker and its scripts")
    print(f"{sum(size for size, _ in layers) / 1e6:8.1f}  together")
    return 0


def _buildah(*arguments: str) -> str:
    command = ["buildah", "--storage-driver", "overlay", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _sizes() -> dict[str, int]:
    """Bytes of each layer by its digest, as buildah's store keeps them."""
    store: dict[str, Any] = json.loads(_buildah("info"))["store"]
    layers = json.loads((Path(store["GraphRoot"]) / "overlay-layers" / "layers.json").read_text())
    return {layer["diff-digest"]: layer["diff-size"] for layer in layers if "diff-digest" in layer}


def _text(created_by: str) -> str:
    """The instruction, without what every instruction begins with."""
    text = re.sub(r"^(\|\d+ .*?)?/bin/sh -c (#\(nop\) )?", "", created_by)
    text = re.sub(r"--mount=\S+\s+", "", text)
    text = "base image" if text == "/bin/sh" else " ".join(text.split())
    return re.sub(r"(dir|file|multi):[0-9a-f]{64}", "…", text)[:80]


if __name__ == "__main__":
    sys.exit(main())
