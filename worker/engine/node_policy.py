"""Decides which node classes callers may use, by ``NODE_ALLOWLIST`` and ``NODE_DENYLIST``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from worker.errors import WorkflowRejected
from worker.protocol.rejection import refusal
from worker.redact import public_text


@dataclass(frozen=True)
class NodePolicy:
    """Names of node classes, with ``*``, ``?`` and ``[…]`` as in ``fnmatch``.

    ``allowed``: only these may be used; empty: all. ``denied``: these may not be used, even if ``allowed`` has them.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def permits(self, class_type: str) -> bool:
        """Whether callers may use this class."""
        if _is_named(class_type, self.denied):
            return False
        return not self.allowed or _is_named(class_type, self.allowed)

    def check(self, workflow: Mapping[str, Any], runs_as: Callable[[str], str] = lambda name: name) -> None:
        """Check every node of ``workflow``, also those that ComfyUI would not run.

        Args:
            workflow: an API-format graph.
            runs_as: returns the class that ComfyUI runs when a graph names a class.

        Raises:
            WorkflowRejected: a node is not allowed. The text has a bullet for each such node.
        """
        if not (self.allowed or self.denied):
            return
        used = {node["class_type"] for node in workflow.values()}
        refused = {name for name in used if not (self.permits(name) and self.permits(runs_as(name)))}
        bullets = [
            f"Node {node_id} ({node['class_type']}): this node class is not allowed here"
            for node_id, node in workflow.items()
            if node["class_type"] in refused
        ]
        if bullets:
            raise WorkflowRejected(public_text(refusal(bullets), max_length=20_000))

    def warnings(self, installed: Iterable[str]) -> Iterator[str]:
        """What is probably wrong with these lists. ``installed``: the names of all installed classes."""
        names = tuple(installed)
        if self.allowed and not any(_is_named(name, self.allowed) for name in names):
            yield "NODE_ALLOWLIST names no node class that is installed: every workflow will be refused"
        idle = [pattern for pattern in self.denied if not any(_is_named(name, (pattern,)) for name in names)]
        if idle:
            yield f"NODE_DENYLIST names no node class that is installed with {', '.join(map(repr, idle))}"


def _is_named(class_type: str, patterns: Iterable[str]) -> bool:
    # A class may have brackets in its name. So compare the whole name first.
    return any(class_type == pattern or fnmatchcase(class_type, pattern) for pattern in patterns)
