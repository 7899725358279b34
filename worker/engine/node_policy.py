"""Decides which node classes callers may use, by ``NODE_ALLOWLIST``, ``NODE_DENYLIST`` and ``SAFE_NODES``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from worker.errors import WorkflowRejected
from worker.protocol.missing_classes import of_the_editor
from worker.protocol.rejection import refusal
from worker.redact import Sent, public_text

Review = Callable[[str], str | None]


@dataclass(frozen=True)
class NodePolicy:
    """Names of node classes, with ``*``, ``?`` and ``[…]`` as in ``fnmatch``.

    ``allowed``: only these may be used; empty: all. ``denied``: these may not be used, even if ``allowed`` has them.
    ``review``: returns why callers may not use a class that the lists permit, or None; for ``SAFE_NODES``.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    review: Review | None = None

    def permits(self, class_type: str) -> bool:
        """Whether callers may use this class."""
        return self.refusal(class_type) is None

    def refusal(self, class_type: str) -> str | None:
        """Why callers may not use this class; None if they may."""
        if _is_named(class_type, self.denied) or (self.allowed and not _is_named(class_type, self.allowed)):
            return "this node class is not allowed here"
        return self.review(class_type) if self.review else None

    def check(self, workflow: Mapping[str, Any], runs_as: Callable[[str], str] = lambda name: name) -> None:
        """Check every node of ``workflow``, also those that ComfyUI would not run.

        Args:
            workflow: an API-format graph.
            runs_as: returns the class that ComfyUI runs when a graph names a class.

        Raises:
            WorkflowRejected: a node is not allowed. The text has a bullet for each such node.
        """
        if not (self.allowed or self.denied or self.review):
            return
        used = {node["class_type"] for node in workflow.values()}
        refusals = {name: self.refusal(name) or self.refusal(runs_as(name)) for name in used}
        # Nobody can allow what only the editor has.
        refusals |= {name: what for name in used if refusals[name] and (what := of_the_editor(name))}
        bullets = [
            f"Node {node_id} ({node['class_type']}): {reason}"
            for node_id, node in workflow.items()
            if (reason := refusals[node["class_type"]]) is not None
        ]
        if bullets:
            raise WorkflowRejected(public_text(refusal(bullets), (), 20_000, Sent(workflow)))

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
