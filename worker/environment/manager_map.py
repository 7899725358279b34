"""Looks up which node pack has a class, in the list that ComfyUI-Manager brings along if it is installed."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path

_FILE = "extension-node-map.json"
_LARGEST = 50_000_000  # Bytes.
_COMFYUI = ("https://github.com/comfyanonymous/comfyui", "https://github.com/comfy-org/comfyui")
_MOST_NAMED = 3


def listed_packs(class_type: str, custom_nodes: Iterable[Path]) -> str | None:
    """Which packs have this class, for a message; None if the Manager is not there or does not list it.

    ``custom_nodes``: the folders that node packs are loaded from.
    """
    packs = packs_of_class(class_type, custom_nodes)
    if not packs:
        return None
    if is_of_comfyui(packs):
        return "ComfyUI-Manager lists it as one of ComfyUI itself, perhaps of a newer version"
    more = len(packs) - _MOST_NAMED
    text = " or ".join(packs[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"ComfyUI-Manager lists it as one of {text}"


def packs_of_class(class_type: str, custom_nodes: Iterable[Path]) -> tuple[str, ...]:
    """The addresses of the packs that have this class; empty if the Manager is not there or does not list it."""
    found = (_read(path, path.stat().st_mtime_ns).get(class_type, ()) for path in _maps(custom_nodes))
    return next(filter(None, found), ())


def is_of_comfyui(packs: Iterable[str]) -> bool:
    """Whether ComfyUI is among these addresses."""
    return any(url.lower().rstrip("/") in _COMFYUI for url in packs)


def _maps(custom_nodes: Iterable[Path]) -> Iterable[Path]:
    for folder in custom_nodes:
        for pack in sorted(folder.iterdir()) if folder.is_dir() else ():
            path = pack / _FILE
            if "comfyui-manager" in pack.name.lower() and path.is_file() and path.stat().st_size < _LARGEST:
                yield path


@functools.lru_cache(maxsize=1)
def _read(path: Path, mtime_ns: int) -> dict[str, tuple[str, ...]]:  # noqa: ARG001 - another time is another file.
    """The addresses of the packs by the classes that they have. Empty if the file cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(url, entry[0]) for url, entry in content.items() if isinstance(entry, list) and entry]
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    found: dict[str, list[str]] = {}
    for url, names in pairs:
        for name in names if isinstance(names, list) else ():
            if isinstance(name, str):
                found.setdefault(name, []).append(url)
    return {name: tuple(urls) for name, urls in found.items()}
