"""Finds and removes single nodes in ComfyUI's cache of node results.

With ``--cache-none`` there is no cache, so no node is found. Nodes of an expanded subgraph have their own cache, below
the cache of the node that was expanded.
"""

from __future__ import annotations

import gc
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any


class NodeCache:
    """The cache of ``executor``, ComfyUI's ``PromptExecutor``, which sometimes replaces its cache."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor

    def entry(self, node_id: str) -> Any:
        """The cache's entry for a node, with ``ui`` and ``outputs``; None if there is no entry."""
        owner = self._owner(node_id)
        return owner.cache.get(self.key(node_id)) if owner is not None else None

    def shown(self, node_id: str) -> Mapping[str, Any] | None:
        """What a node has shown: ``output``, its ui dict, and ``meta``; None if it has shown nothing."""
        return getattr(self.entry(node_id), "ui", None) or None

    def key(self, node_id: str) -> Hashable:
        """The key of a node in the cache; None if there is no cache."""
        owner = self._owner(node_id)
        key: Hashable = owner.cache_key_set.get_data_key(node_id) if owner is not None else None
        return key

    def holds(self, key: Hashable) -> bool:
        """Whether the cache still has an entry for this key."""
        return key in getattr(self.executor.caches.outputs, "cache", {})

    def forget_key(self, key: Hashable) -> None:
        """Remove the node with this key, so that it runs again."""
        getattr(self.executor.caches.outputs, "cache", {}).pop(key, None)

    def linked(self, link: Any) -> Sequence[Any]:
        """The cached values that ``link``, ``[node id, index]``, leads to; empty if ``link`` is no link."""
        if not (isinstance(link, list) and len(link) == 2 and isinstance(link[0], str)):
            return ()
        outputs = getattr(self.entry(link[0]), "outputs", None)
        return outputs[link[1]] if outputs is not None and link[1] < len(outputs) else ()

    def class_of(self, node_id: str) -> str:
        """The class of a node of the prompt that runs, also in an expanded subgraph; empty if it is not known."""
        dynprompt = getattr(self.executor.caches.outputs, "dynprompt", None)
        if dynprompt is None or not dynprompt.has_node(node_id):
            return ""
        return str(dynprompt.get_node(node_id).get("class_type", ""))

    def forget(self, node_id: str) -> None:
        """Remove a node, and the nodes whose expansion it belongs to, so that they run again. No other node does."""
        dynprompt = getattr(self.executor.caches.outputs, "dynprompt", None)
        current: str | None = node_id
        while current is not None:
            owner = self._owner(current)
            if owner is not None:
                owner.cache.pop(self.key(current), None)
            current = dynprompt.get_parent_node_id(current) if dynprompt is not None else None

    def forget_objects_handed_on(self, node_ids: Iterable[str]) -> None:
        """Remove node objects that are among their own outputs, as batch managers are.

        After a failure, such an object would continue the unfinished batch in the next job.
        """
        objects = self.executor.caches.objects
        if not hasattr(objects, "cache_key_set"):
            return
        found = False
        for node_id in node_ids:
            key = objects.cache_key_set.get_data_key(node_id)
            instance, entry = objects.cache.get(key), self.entry(node_id)
            if instance is None or entry is None or entry.outputs is None:
                continue
            if any(item is instance for slot in entry.outputs for item in slot):
                self.forget(node_id)
                objects.cache.pop(key)
                found = True
        if found:
            gc.collect()  # Closes the files that these objects have open, before the files leave ComfyUI's folders.

    def _owner(self, node_id: str) -> Any:
        """The cache that holds a node: the main one, or one of an expanded subgraph; None if there is no cache."""
        cache = self.executor.caches.outputs
        if not hasattr(cache, "cache_key_set"):
            return None
        find = getattr(cache, "_get_cache_for", None)
        return find(node_id) if find is not None else cache
