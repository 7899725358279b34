"""Lets ComfyUI's start pass over its own node files, whose classes are loaded when they are asked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from worker.embedded.deferred.nodes.circles import reaches_circle
from worker.embedded.deferred.nodes.effects import absent_packages, has_effects
from worker.embedded.deferred.nodes.index import NodeFile, NodeIndex
from worker.embedded.deferred.nodes.mapping import NodeClassMappings
from worker.embedded.deferred.nodes.node_files import NodeFiles
from worker.embedded.deferred.nodes.shared_state import shared_state

_OWN = ("comfy_extras", "comfy_api_nodes")
LoadPack = Callable[..., Awaitable[bool]]
"""Loads a node pack, or passes over it. It gets ComfyUI's function, and what that would have got."""


async def load_pack(load: Callable[..., Awaitable[bool]], *args: Any, **kwargs: Any) -> bool:
    """Load a node pack as ComfyUI does."""
    return bool(await load(*args, **kwargs))


@contextlib.contextmanager
def deferring_classes(
    main: Any, index: NodeIndex, files: NodeFiles, before_packs: Callable[[], None], packs: LoadPack = load_pack
) -> Iterator[None]:
    """Within this context, ComfyUI's node files are not loaded if ``index`` knows their classes.

    Files that it does not know are loaded, and added to it.

    Args:
        main: ComfyUI's ``main`` module, whose nodes are not loaded yet.
        index: of ComfyUI's tree.
        files: loads them.
        before_packs: called before the first node pack is loaded.
        packs: loads node packs.
    """
    nodes = main.nodes
    original = nodes.load_custom_node
    nodes.NODE_CLASS_MAPPINGS = NodeClassMappings(nodes.NODE_CLASS_MAPPINGS, files)

    async def load_custom_node(path: str, *args: Any, **kwargs: Any) -> bool:
        parent = kwargs.get("module_parent")
        if parent not in _OWN or args or len(kwargs) > 1:
            before_packs()
            return await packs(original, path, *args, **kwargs)
        if (known := index[path]) is None:
            return await _load(main, index, files, path, parent)
        _pass_over(nodes, files, path, parent, known)
        return True

    nodes.load_custom_node = load_custom_node
    try:
        yield
    finally:
        nodes.load_custom_node = original
    index.keep()


def _pass_over(nodes: Any, files: NodeFiles, path: str, parent: str, known: NodeFile) -> None:
    files.expect(path, parent)
    for name in known.names:
        nodes.NODE_CLASS_MAPPINGS.expect(name, path)
    nodes.NODE_DISPLAY_NAME_MAPPINGS.update(known.shown)


async def _load(main: Any, index: NodeIndex, files: NodeFiles, path: str, parent: str) -> bool:
    """Load a file. Add it to the index if nobody will notice that a later start passes over it."""
    before = shared_state(main)
    is_loaded, classes, shown, waited = await files.load_now(path, module_parent=parent)
    main.nodes.NODE_CLASS_MAPPINGS.update(classes)
    main.nodes.NODE_DISPLAY_NAME_MAPPINGS.update(shown)
    file = Path(path)
    is_noticed = waited or shared_state(main) != before or has_effects(file)
    if is_loaded and not is_noticed and not reaches_circle(file):
        index.add(path, NodeFile(list(classes), shown, absent_packages(file)))
    return is_loaded


def can_defer(nodes: Any) -> bool:
    """Whether ``nodes`` is as ComfyUI made it: a pack's prestart script may have changed it.

    Something that holds the mapping as it is now would not see what comes later.
    """
    load: Any = nodes.load_custom_node
    is_own = isinstance(load, FunctionType) and load.__globals__ is vars(nodes)
    return is_own and sys.getrefcount(nodes.NODE_CLASS_MAPPINGS) <= 2
