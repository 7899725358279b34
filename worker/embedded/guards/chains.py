"""Lets ComfyUI take long chains of nodes: in a time that grows with their length, and not with its square.

ComfyUI makes a node's cache key of everything before it, once more for each node. Here the key of a node is a digest,
made of its own inputs and the keys of the nodes that they are linked to. Two keys are equal where they were.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

_DEEP = 200  # Nodes in a graph from which on ComfyUI is not left to follow the links by recursion.
_NAN = float("NaN")
_unique = itertools.count()
Key = tuple[Any, ...]  # ``(digest,)``, or ``(digest, NaN)`` for what is equal to nothing.


def guard_chains(execution: Any, caching: Any, check_interrupt: Callable[[], None]) -> None:
    """Make ComfyUI's cache keys and its validation linear.

    Args:
        execution: ComfyUI's module.
        caching: its ``comfy_execution.caching``.
        check_interrupt: raises if the prompt was told to stop. It is called before each key.
    """

    is_link = caching.is_link

    def linked(inputs: Mapping[str, Any]) -> list[str]:
        return [value[0] for _, value in sorted(inputs.items()) if is_link(value)]

    async def get_node_signature(self: Any, dynprompt: Any, node_id: str) -> Key:
        keys: dict[str, Key] = self.__dict__.setdefault("worker_keys", {})
        for each in _ancestors_first(node_id, keys, lambda one: linked(_inputs(dynprompt, one))):
            check_interrupt()
            signature = await self.get_immediate_node_signature(dynprompt, each, _Known(keys))
            keys[each] = _key(signature)
        return keys[node_id]

    validate_inputs = execution.validate_inputs

    async def validate_ancestors_first(
        prompt_id: str, prompt: Mapping[str, Any], item: str, validated: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        if len(prompt) > _DEEP and not args and not kwargs:
            for each in _ancestors_first(item, validated, lambda one: linked(prompt.get(one, {}).get("inputs", {}))):
                try:
                    await validate_inputs(prompt_id, prompt, each, validated)
                except Exception:  # noqa: BLE001, S112 - it raises again below, where ComfyUI says which link led to it.
                    continue
        return await validate_inputs(prompt_id, prompt, item, validated, *args, **kwargs)

    caching.CacheKeySetInputSignature.get_node_signature = get_node_signature
    execution.validate_inputs = validate_ancestors_first


class _Known(dict[str, Key]):
    """Keys of ancestors. A link that closes a circle has none, and such a node never runs."""

    def __missing__(self, node_id: str) -> Key:
        return (f"circle {next(_unique)}", _NAN)


def _ancestors_first(node_id: str, known: Mapping[str, Any], links: Callable[[str], list[str]]) -> Iterator[str]:
    """Ids of ``node_id`` and of the nodes that it needs, unless they are ``known``; each after those that it needs."""
    seen = {node_id}
    waiting = [] if node_id in known else [(node_id, iter(links(node_id)))]
    while waiting:
        current, further = waiting[-1]
        for ancestor in further:
            if ancestor not in seen and ancestor not in known:
                seen.add(ancestor)
                waiting.append((ancestor, iter(links(ancestor))))
                break
        else:
            waiting.pop()
            yield current


def _inputs(dynprompt: Any, node_id: str) -> Mapping[str, Any]:
    inputs: Mapping[str, Any] = dynprompt.get_node(node_id)["inputs"] if dynprompt.has_node(node_id) else {}
    return inputs


def _key(signature: Any) -> Key:
    parts: list[str] = []
    is_unique = _add_parts(signature, parts)
    # With its length before each part, no two lists of parts give one text.
    data = "".join([f"{len(part)}:{part}" for part in parts]).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(data).hexdigest()
    return (digest, _NAN) if is_unique else (digest,)


def _add_parts(value: Any, parts: list[str]) -> bool:
    """Add what ``value`` consists of. Returns whether it is equal to nothing.

    As in ComfyUI's ``to_hashable``, 1, 1.0 and True are one. The usual types come first, since this runs for each node.
    """
    kind = type(value)
    if kind is str or isinstance(value, str):
        parts.append("s" + value)
        return False
    if kind is tuple or kind is list or (isinstance(value, Sequence) and kind is not bytes):
        parts.append(f"l{len(value)}")
        return _add_each(value, parts)
    if isinstance(value, (int, float)):
        if value != value:
            return _add_unique(parts)
        parts.append("n" + (f"{int(value):x}" if value == value // 1 else repr(value)))
        return False
    if isinstance(value, bytes) or value is None:
        parts.append(repr(value))
        return False
    if isinstance(value, Mapping):
        parts.append(f"m{len(value)}")
        return _add_each(itertools.chain.from_iterable(sorted(value.items())), parts)
    return _add_unique(parts)


def _add_each(values: Iterable[Any], parts: list[str]) -> bool:
    is_unique = False
    for value in values:
        is_unique |= _add_parts(value, parts)
    return is_unique


def _add_unique(parts: list[str]) -> bool:
    parts.append(f"unique {next(_unique)}")
    return True
