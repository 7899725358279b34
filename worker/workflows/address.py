"""Finds the input that ``NODE.INPUT`` names: NODE is a node's id or title. Both may have dots, and INPUT as well."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.convert.handles import Handle, Target
from worker.convert.node.definitions import Definition, Definitions
from worker.errors import InvalidJob
from worker.events import title_of
from worker.job.by_name import LONGEST_KEY
from worker.job.job import Workflow
from worker.job.shown import quoted
from worker.redact import encodable
from worker.workflows.inputs import Input, input_of, inputs_of
from worker.workflows.near import near_names

_MOST_SHOWN, _LONGEST_SHOWN = 20, 60  # Names in a message, and characters of each.
_ID = re.compile(r"[\d:]+")


class Nodes:
    """The nodes of a graph, and those that only the editor shows, by id and by title.

    Args:
        workflow: an API graph, which may change.
        definitions: what its node classes declare; None while no ComfyUI runs.
        handles: what nodes of the editor show for inputs of the graph.
    """

    def __init__(self, workflow: Workflow, definitions: Definitions | None, handles: Sequence[Handle] = ()) -> None:
        self._workflow, self._definitions = workflow, definitions
        self._titles: dict[str, list[str]] | None = None
        self._handles: dict[str, dict[str, Handle]] = {}
        for handle in handles:
            if handle.node_id not in workflow:
                self._handles.setdefault(handle.node_id, {})[handle.name] = handle

    def check(self, key: str) -> None:
        """Refuse ``key`` if it names a node that certainly is not there. Inputs are not looked at.

        Raises:
            InvalidJob: no node has this id or title, nor can it be the name that a class has as a title.
        """
        names = [name for name, _ in _splits(key)]
        have_titles = all(map(_own_title, self._workflow.values()))
        if not any(map(self._named, names)) and (have_titles or all(map(_ID.fullmatch, names))):
            raise InvalidJob(self._no_node(key))

    def find(self, key: str) -> list[tuple[str, Input]]:
        """The input that ``key`` names, with the id of its node. It takes a value.

        A handle may stand for several inputs.

        Raises:
            InvalidJob: there is no such input, or more than one, or it is linked.
        """
        named = [(node_id, input_name) for name, input_name in _splits(key) for node_id in self._named(name)]
        if not named:
            raise InvalidJob(self._no_node(key))
        found = {(node_id, name): inputs for node_id, name in named if (inputs := self._inputs(node_id, name))}
        if len(found) > 1 or (not found and len(named) > 1):
            raise InvalidJob(self._several(key, list(dict.fromkeys(node_id for node_id, _ in found or named))))
        if not found:
            raise InvalidJob(self._no_input(*named[0]))
        (inputs,) = found.values()
        for node_id, found_input in inputs:
            if not found_input.is_settable:
                raise InvalidJob(self._not_settable(key, node_id, found_input))
        return inputs

    def _inputs(self, node_id: str, name: str) -> list[tuple[str, Input]]:
        """The inputs that the input ``name`` of a node stands for: itself, or others; empty if there is none."""
        if node_id in self._workflow:
            targets: Sequence[Target] = ((node_id, name),)
        else:
            handle = self._handles[node_id].get(name)
            targets = handle.targets if handle is not None else ()
        found = (
            (target, input_of(self._workflow[target], self._definition(target), inner)) for target, inner in targets
        )
        return [(target, found_input) for target, found_input in found if found_input is not None]

    def _definition(self, node_id: str) -> Definition | None:
        return self._definitions.find(self._workflow[node_id]["class_type"]) if self._definitions is not None else None

    def title(self, node_id: str) -> str:
        """The title of a node as the editor shows it."""
        if node_id in self._handles:
            return next(iter(self._handles[node_id].values())).title
        node = self._workflow[node_id]
        if (own := _own_title(node)) is not None:
            return own
        definition = self._definition(node_id)
        return definition.title if definition is not None else str(node["class_type"])

    def inputs(self, node_id: str) -> dict[str, Input]:
        """The inputs of a node, by name."""
        return inputs_of(self._workflow[node_id], self._definition(node_id))

    def key(self, node_id: str, input_name: str) -> str:
        """What names this input: by the title of its node, or by its id if this title is not enough."""
        key = f"{self.title(node_id)}.{input_name}"
        named = [(found_id, name) for title, name in _splits(key) for found_id in self._named(title)]
        meant = [each for each in named if self._inputs(*each)]
        is_short = len(key) <= LONGEST_KEY
        return key if is_short and meant == [(node_id, input_name)] else f"{node_id}.{input_name}"

    def _named(self, name: str) -> Sequence[str]:
        """The ids of the nodes of this id or title.

        An id comes before all titles, and a node of the workflow itself before those in subgraphs, which nobody sees
        who opens the file.
        """
        if name in self._workflow or name in self._handles:
            return [name]
        if self._titles is None:
            self._titles = {}
            for node_id in (*self._workflow, *self._handles):
                self._titles.setdefault(self.title(node_id), []).append(node_id)
        found = self._titles.get(name, ())
        depths = [node_id.count(":") for node_id in found]
        return [node_id for node_id, depth in zip(found, depths, strict=True) if depth == min(depths)]

    def _no_node(self, key: str) -> str:
        name = key.rpartition(".")[0]
        node_ids = [*self._handles, *self._workflow]
        near = near_names(name, [*node_ids, *map(self.title, node_ids)])
        meant = f" (is {near} meant?)" if near else ""
        return f"'set': there is no node {quoted(name)}{meant}; the workflow has {self._listed(node_ids)}"

    def _several(self, key: str, node_ids: list[str]) -> str:
        return f"'set': {quoted(key)} may mean {len(node_ids)} nodes; use the id of one: {self._listed(node_ids)}"

    def _no_input(self, node_id: str, name: str) -> str:
        if node_id in self._handles:
            inputs = list(self._handles[node_id])
        else:
            inputs = [found.name for found in self.inputs(node_id).values() if found.is_settable]
        near = near_names(name, inputs)
        meant = f" (is {near} meant?)" if near else ""
        known = ", ".join(map(_short, inputs[:_MOST_SHOWN])) + (", …" if len(inputs) > _MOST_SHOWN else "")
        return f"'set': node {self._label(node_id)} has no input {quoted(name)}{meant}; it has {known or 'none'}"

    def _not_settable(self, key: str, node_id: str, found: Input) -> str:
        where = f"{quoted(key)}: {_short(found.name)} of node {self._label(node_id)}"
        if found.source is None:
            return f"'set': {where} takes only links, and no values"
        source = self._label(found.source) if found.source in self._workflow else quoted(found.source)
        return f"'set': {where} is linked to node {source}; set an input of that one"

    def _listed(self, node_ids: list[str]) -> str:
        shown = ", ".join(map(self._label, node_ids[:_MOST_SHOWN]))
        return shown + (f" and {len(node_ids) - _MOST_SHOWN} more" if len(node_ids) > _MOST_SHOWN else "")

    def _label(self, node_id: str) -> str:
        if node_id in self._handles:
            return f"{_short(node_id)} ({quoted(self.title(node_id))})"
        class_type, title = self._workflow[node_id]["class_type"], _own_title(self._workflow[node_id])
        about = f"{_short(class_type)}, {quoted(title)}" if title not in (None, class_type) else _short(class_type)
        return f"{_short(node_id)} ({about})"


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """All ways to take ``key`` apart into a node and an input."""
    place = key.find(".", 1)
    while 0 < place < len(key) - 1:
        yield key[:place], key[place + 1 :]
        place = key.find(".", place + 1)


def _short(name: str) -> str:
    """A name of a graph for a message."""
    return encodable(name if len(name) <= _LONGEST_SHOWN else name[:_LONGEST_SHOWN] + "…")


def _own_title(node: Mapping[str, Any]) -> str | None:
    return title_of(node) or None
