"""Finds node files whose modules import each other in a circle: these depend on ComfyUI's order."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path


def reaches_circle(file: Path) -> bool:
    """Whether a node file, or a module of its folder that it imports, is part of a circle of imports.

    Whether such modules can be imported depends on which of them comes first. ComfyUI's order is one that works.
    """
    reached = _reached(file)
    return any(each in _reached(each) for each in {file, *reached})


def _reached(file: Path) -> set[Path]:
    """The modules of the same folder that a file imports, and that these import."""
    reached: set[Path] = set()
    waiting = [file]
    while waiting:
        new = _imported(waiting.pop()) - reached
        reached |= new
        waiting.extend(new)
    return reached


@functools.cache
def _imported(file: Path) -> frozenset[Path]:
    paths = (file.parent / f"{name}.py" for name in _names(file))
    return frozenset(path for path in paths if path.is_file())


def _names(file: Path) -> Iterator[str]:
    """The names of modules in the same folder that a file imports, wherever in it."""
    package = file.parent.name
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix(f"{package}.") for alias in node.names if alias.name.startswith(f"{package}.")
            )
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == 1:
                module = f"{package}.{module}".rstrip(".")
            elif node.level:
                continue
            if module == package:  # from comfy_extras import nodes_latent
                yield from (alias.name for alias in node.names)
            elif module.startswith(f"{package}."):
                yield module.removeprefix(f"{package}.")
