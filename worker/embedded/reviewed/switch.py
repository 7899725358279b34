"""Turns ``SAFE_NODES`` into the check of node classes, and tells the operator what it permits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from worker.embedded.reviewed.nodes import ReviewedNodes
from worker.embedded.runtime import Runtime
from worker.engine.node_policy import NodePolicy
from worker.errors import StartError
from worker.events import Notice, Say


def reviewed_nodes(safe_nodes: str, runtime: Runtime) -> ReviewedNodes | None:
    """The check that ``SAFE_NODES`` asks for, or None for ``off``."""
    if safe_nodes == "off":
        return None
    return ReviewedNodes(runtime.main.nodes.NODE_CLASS_MAPPINGS, runtime.source.path, _packs(safe_nodes))


def reviewed_policy(policy: NodePolicy, safe_nodes: str, runtime: Runtime, say: Say) -> NodePolicy:
    """``policy`` with ``SAFE_NODES``, which from now on holds for the nodes that other nodes add as well.

    Tells the operator what workflows may use, and which of these settings are probably a mistake.
    """
    reviewed = reviewed_nodes(safe_nodes, runtime)
    runtime.admission.refusal = reviewed.class_refusal if reviewed else None
    if reviewed is not None:
        policy = replace(policy, review=reviewed.refusal)
        say(Notice(summary(safe_nodes, reviewed)))
    for text in (*policy.warnings(runtime.node_classes()), *warnings(safe_nodes, runtime)):
        say(Notice(text, is_warning=True))
    return policy


def refuse_for_server(safe_nodes: str) -> None:
    """Refuse to start as the client of a server, whose classes nobody can check.

    Raises:
        StartError: ``SAFE_NODES`` is on.
    """
    if safe_nodes != "off":
        raise StartError(
            f"SAFE_NODES={safe_nodes} cannot be checked with COMFY_BACKEND=websocket, because the worker does not see "
            "the source of the server's node classes: unset SAFE_NODES and use NODE_ALLOWLIST, or unset COMFY_BACKEND"
        )


def summary(safe_nodes: str, reviewed: ReviewedNodes) -> str:
    """How many of the installed classes workflows may use, in a line for the operator."""
    states = Counter(reviewed.states().values())
    usable = states["reviewed"] + states["pack"]
    return (
        f"SAFE_NODES={safe_nodes}: workflows may use {usable} of {states.total()} node classes; "
        f"{states['changed']} are not allowed because they differ from the reviewed source"
    )


def warnings(safe_nodes: str, runtime: Runtime) -> Iterator[str]:
    """What is probably wrong with the setting."""
    installed = {pack.name.removesuffix(".py") for pack in runtime.node_packs}
    unknown = [name for name in _packs(safe_nodes) if name.removesuffix(".py") not in installed]
    if unknown:
        yield f"SAFE_NODES names no node pack that is installed with {', '.join(map(repr, unknown))}"


def _packs(safe_nodes: str) -> tuple[str, ...]:
    return tuple(safe_nodes.split(",")[1:])
