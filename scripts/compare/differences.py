"""Finds what differs between the two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compare.contents import difference
from compare.observed import FAILED, SUCCESS, Pack, Ran, Seen

_MOST_SHOWN = 120  # Characters of a text.
_ONLY_WORKER = "only the worker has it"


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes:
        where: the pack or workflow.
        kind: ``import``, ``classes``, ``outcome``, ``files``, ``texts`` or ``ui``.
        what: the file, the class, or the node and its key.
        text: how it differs.
        varies: whether two runs of the server differ in it as well.
        pair: the files of the server and of the worker, if both have it.
    """

    where: str
    kind: str
    what: str
    text: str
    varies: bool = False
    pair: tuple[Path, Path] | None = None


def of_packs(server: Seen, worker: Seen) -> Iterator[Difference]:
    """What differs in imports, and in node classes."""
    for name in sorted(server.packs.keys() | worker.packs.keys()):
        states = [_state(side.packs.get(name)) for side in (server, worker)]
        if states[0] != states[1]:
            yield Difference(name, "import", "", f"on the server it is {states[0]}, on the worker {states[1]}")
    for name in sorted(server.classes.keys() | worker.classes.keys()):
        if name not in worker.classes or name not in server.classes:
            there = "server" if name in server.classes else "worker"
            yield Difference(
                pack_of((server.classes | worker.classes)[name]), "classes", name, f"only the {there} has it"
            )
        elif (path := _first_apart(server.classes[name], worker.classes[name])) is not None:
            yield Difference(pack_of(server.classes[name]), "classes", name, path)


def pack_of(about: Any) -> str:
    """The pack of a node class, by what ``/object_info`` says of it; ``ComfyUI`` for its own."""
    parts = str(about.get("python_module") if isinstance(about, Mapping) else "").split(".", 1)
    return parts[1] if parts[0] == "custom_nodes" and len(parts) > 1 else "ComfyUI"


def of_runs(name: str, server: Ran, worker: Ran) -> Iterator[Difference]:
    """What differs between two runs of the workflow ``name``."""
    # Of a workflow that is refused, the worker also names nodes that ComfyUI has not come to.
    nodes = [set(ran.nodes) if ran.outcome == FAILED else set() for ran in (server, worker)]
    if server.outcome != worker.outcome or nodes[0] != nodes[1]:
        yield Difference(name, "outcome", "", f"on the server: {told(server)}; on the worker: {told(worker)}")
    # A server takes a workflow's outputs in the order of a set. So what it has done before a node fails is chance.
    if SUCCESS not in (server.outcome, worker.outcome):
        return
    yield from _of_files(name, server, worker)
    yield from _of_texts(name, server, worker)
    for node_id in sorted(server.ui.keys() | worker.ui.keys()):
        path = _first_apart(server.ui.get(node_id, []), worker.ui.get(node_id, []))
        if path is not None:
            yield Difference(name, "ui", f"node {node_id}", path)


def with_varying(found: list[Difference], again: list[Difference]) -> list[Difference]:
    """``found``, where what is in ``again``, the differences of two servers, is marked as varying."""
    varying = set(map(_identity, again))
    return [replace(one, varies=_identity(one) in varying) for one in found]


def _identity(one: Difference) -> tuple[str, ...]:
    """What two differences have in common that are the same. A file that only one side has may have a random name."""
    if one.text == _ONLY_WORKER:
        return (one.where, one.kind, _ONLY_WORKER, Path(one.what).suffix)
    return (one.where, one.kind, one.what)


def told(ran: Ran) -> str:
    """A run's outcome in words."""
    if ran.outcome == SUCCESS:
        return SUCCESS
    nodes = f": node {', '.join(ran.nodes)}" if ran.nodes else ""
    return ran.outcome + nodes + (f" ({short(ran.lines[0])})" if ran.lines else "")


def short(text: str) -> str:
    """A text on one line, cut if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"


def _state(pack: Pack | None) -> str:
    if pack is None:
        return "not there"
    return "imported" if pack.error is None else f"not imported: {short(pack.error)}"


def _of_files(name: str, server: Ran, worker: Ran) -> Iterator[Difference]:
    for place, path in server.files.items():
        if place not in worker.files:
            yield Difference(name, "files", place, "it does not arrive in the worker's answer")
        elif (text := difference(path, worker.files[place])) is not None:
            yield Difference(name, "files", place, text, pair=(path, worker.files[place]))
    more = {place: path for place, path in worker.files.items() if place not in server.files}
    more |= {path.name: path for path in worker.sent}  # Of a second server.
    for number, picture in enumerate(server.sent, 1):
        same = next((place for place, path in more.items() if difference(picture, path) is None), None)
        if same is None:
            what = f"picture {number} for the page"
            yield Difference(name, "files", what, "it does not arrive in the worker's answer")
        else:
            more.pop(same)
    for place in more:
        yield Difference(name, "files", place, _ONLY_WORKER)


def _of_texts(name: str, server: Ran, worker: Ran) -> Iterator[Difference]:
    there, here = Counter(server.texts), Counter(worker.texts)
    for (node_id, text), _ in sorted((there - here).items()):
        yield Difference(name, "texts", f"node {node_id}", f"it does not arrive in the worker's answer: {short(text)}")
    values = (value for dicts in server.ui.values() for shown in dicts for value in shown.get("text") or ())
    shown_too = set(map(str, values))  # Such as True, which the worker sends as well, and need not.
    for (node_id, text), _ in sorted((here - there).items()):
        if text not in shown_too:
            yield Difference(name, "texts", f"node {node_id}", f"only the worker's answer has it: {short(text)}")


def _first_apart(one: Any, other: Any, path: str = "") -> str | None:
    """Where two values first differ, and the two values there; None if they are equal."""
    if one == other and type(one) is type(other):
        return None
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            if key not in one or key not in other:
                return f"{path}.{key}".lstrip(".") + f": only the {'server' if key in one else 'worker'} has it"
            if (found := _first_apart(one[key], other[key], f"{path}.{key}")) is not None:
                return found
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((f for i, (a, b) in pairs if (f := _first_apart(a, b, f"{path}[{i}]")) is not None), None)
    return f"{path.lstrip('.') or 'value'}: {short(repr(one))} on the server, {short(repr(other))} on the worker"
