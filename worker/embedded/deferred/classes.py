"""Lets ComfyUI's start pass over its own node files, whose classes are loaded when they are asked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from worker.embedded.deferred.effects import has_effects
from worker.embedded.deferred.index import NodeFile, NodeIndex
from worker.embedded.deferred.mapping import NodeClassMappings
from worker.embedded.deferred.node_files import Classes, NodeFiles
from worker.embedded.deferred.shared_state import shared_state

_OWN = ("comfy_extras", "comfy_api_nodes")


@contextlib.contextmanager
def deferring_classes(main: Any, index: NodeIndex, loaded: Callable[[Classes], None]) -> Iterator[None]:
    """Within this context, ComfyUI's node files are not loaded if ``index`` knows their classes.

    Files that it does not know are loaded, and added to it.

    Args:
        main: ComfyUI's ``main`` module, whose nodes are not loaded yet.
        index: of ComfyUI's tree.
        loaded: called with the classes of each file that is loaded late.
    """
    nodes = main.nodes
    original = nodes.load_custom_node
    if not (isinstance(original, FunctionType) and original.__globals__ is vars(nodes)) or _is_shared(nodes):
        yield  # A pack's prestart script has changed it, or keeps the mapping as it is now.
        return
    files = NodeFiles(nodes, loaded)
    mappings = nodes.NODE_CLASS_MAPPINGS = NodeClassMappings(nodes.NODE_CLASS_MAPPINGS, files)

    async def load_custom_node(path: str, *args: Any, **kwargs: Any) -> bool:
        parent = kwargs.get("module_parent")
        if parent not in _OWN or args or len(kwargs) > 1:
            return bool(await original(path, *args, **kwargs))
        if (known := index[path]) is not None:
            files.expect(path, parent)
            for name in known.names:
                mappings.expect(name, path)
            nodes.NODE_DISPLAY_NAME_MAPPINGS.update(known.shown)
            return True
        before = shared_state(main)
        is_loaded, classes, shown, waited = await files.load_now(path, module_parent=parent)
        mappings.update(classes)
        nodes.NODE_DISPLAY_NAME_MAPPINGS.update(shown)
        if is_loaded and not waited and shared_state(main) == before and not has_effects(_source(path)):
            index.add(path, NodeFile(list(classes), shown))
        return is_loaded

    nodes.load_custom_node = load_custom_node
    try:
        yield
    finally:
        nodes.load_custom_node = original
    index.keep()


def _source(path: str) -> str:
    return Path(path).read_text("utf-8")


def _is_shared(nodes: Any) -> bool:
    """Whether something else holds the mapping as it is: it would not see what comes later."""
    return sys.getrefcount(nodes.NODE_CLASS_MAPPINGS) > 2
