"""Which node classes callers may use: ``NODE_ALLOWLIST`` and ``NODE_DENYLIST``. Pure."""

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

    ``allowed``: no others, where there is any. ``denied``: none of these, whatever ``allowed`` says.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def permits(self, class_type: str) -> bool:
        """Whether callers may use this class."""
        if _is_named(class_type, self.denied):
            return False
        return not self.allowed or _is_named(class_type, self.allowed)

    def check(self, workflow: Mapping[str, Any], runs_as: Callable[[str], str] = lambda name: name) -> None:
        """Check every node of ``workflow``, those that ComfyUI would leave out as well.

        Args:
            workflow: an API-format graph.
            runs_as: the class that ComfyUI runs where it is asked for this one.

        Raises:
            WorkflowRejected: with a bullet for each node that is not allowed.
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
        """What an operator should know of these lists, given the classes that are ``installed``."""
        names = tuple(installed)
        if self.allowed and not any(_is_named(name, self.allowed) for name in names):
            yield "NODE_ALLOWLIST names no node class that is installed: every workflow will be refused"
        idle = [pattern for pattern in self.denied if not any(_is_named(name, (pattern,)) for name in names)]
        if idle:
            yield f"NODE_DENYLIST names no node class that is installed with {', '.join(map(repr, idle))}"


def _is_named(class_type: str, patterns: Iterable[str]) -> bool:
    # Names of classes may have brackets, which are no set of characters where the whole is a name.
    return any(class_type == pattern or fnmatchcase(class_type, pattern) for pattern in patterns)
