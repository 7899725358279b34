"""Tells which loaded node classes callers may use while ``SAFE_NODES`` is on, and why not the others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from worker.embedded.reviewed.loaded import LoadedModule, module_of
from worker.embedded.reviewed.source import ModuleSource
from worker.embedded.reviewed.table import ReviewTable, review_table

State = Literal["reviewed", "changed", "left out", "new", "pack"]
_REASONS: Mapping[State, str | None] = {
    "reviewed": None,
    "pack": None,
    "changed": "its source differs from the one that was reviewed for strangers (SAFE_NODES)",
    "left out": "this node class is not one for strangers (SAFE_NODES)",
    "new": "this node class was not reviewed for strangers (SAFE_NODES)",
}


@dataclass(frozen=True)
class _Verdict:
    """What is known of a class.

    ``seen``: where each part of it stood: ``space[name]`` was ``value``. ``sizes``: how many members its classes had.
    """

    state: State
    seen: tuple[tuple[Mapping[str, Any], str, Any], ...] = ()
    sizes: tuple[tuple[Mapping[str, Any], int], ...] = ()

    def holds(self) -> bool:
        """Whether all parts still stand where they stood, and none was added."""
        return all(space.get(name) is value for space, name, value in self.seen) and all(
            len(space) == size for space, size in self.sizes
        )


class ModuleFile:
    """A file of ComfyUI that is loaded as a module. ``path``: inside of ComfyUI's tree."""

    def __init__(self, module: ModuleType, path: str) -> None:
        self.path = path
        self._module = module
        self._file = Path(str(module.__file__))

    @cached_property
    def loaded(self) -> LoadedModule:
        """What is loaded, beside the code that the file makes."""
        return LoadedModule(self._module, lambda: self.source)

    @cached_property
    def source(self) -> ModuleSource:
        """Its source, parsed."""
        return ModuleSource(self._file.read_text("utf-8"))

    def forget(self) -> None:
        """Free the memory that the source takes. It is read again if it is needed."""
        vars(self).pop("source", None)
        vars(self).pop("loaded", None)

    @cached_property
    def sha256(self) -> str:
        """Of the whole file."""
        return hashlib.sha256(self._file.read_bytes()).hexdigest()


class ReviewedNodes:
    """The node classes that are loaded, beside the tables of reviewed ones.

    Args:
        classes: ComfyUI's ``NODE_CLASS_MAPPINGS``.
        tree: the folder of ComfyUI.
        packs: names of the node packs whose classes the operator takes for reviewed.
        table: what was reviewed.
    """

    def __init__(
        self, classes: Mapping[str, Any], tree: Path, packs: tuple[str, ...] = (), table: ReviewTable | None = None
    ) -> None:
        self._classes = classes
        self._tree = tree.resolve()
        self._packs = frozenset(f"custom_nodes.{name.removesuffix('.py')}" for name in packs)
        self._table = table or review_table()
        self._files: dict[str, ModuleFile | None] = {}
        self._verdicts: dict[tuple[str, Any], _Verdict] = {}
        self._names: dict[Any, list[str]] = {}

    def refusal(self, class_type: str) -> str | None:
        """Why callers may not use a node class; None if they may, or if it is not installed."""
        node_class = self._classes.get(class_type)
        return None if node_class is None else _REASONS[self.state(class_type, node_class)]

    def class_refusal(self, node_class: Any) -> str | None:
        """``refusal`` for a class itself, which may be installed under several names."""
        names = [name for name in self._names.get(node_class, ()) if self._classes.get(name) is node_class]
        if not names:
            names = self._names[node_class] = [name for name, each in self._classes.items() if each is node_class]
        reasons = [_REASONS[self.state(name, node_class)] for name in names] or [_REASONS["new"]]
        return None if None in reasons else reasons[0]

    def states(self) -> dict[str, State]:
        """The state of each installed class, by its name."""
        states = {name: self.state(name, node_class) for name, node_class in list(self._classes.items())}
        for file in self._files.values():
            if file is not None:
                file.forget()
        return states

    def state(self, class_type: str, node_class: Any) -> State:
        """What is known of a class that is installed under the name ``class_type``."""
        known = self._verdicts.get((class_type, node_class))
        if known is None or not known.holds():
            known = self._verdicts[class_type, node_class] = self._judge(class_type, node_class)
        return known.state

    def _judge(self, class_type: str, node_class: Any) -> _Verdict:
        own = self.file_of(node_class)
        if own is None:
            if getattr(node_class, "RELATIVE_PYTHON_MODULE", None) in self._packs:
                return _Verdict("pack")
            is_taken = any(class_type in names for names in self._table.classes.values())
            return _Verdict("changed" if is_taken else "new")
        if class_type in self._table.left_out.get(own.path, ()):
            return _Verdict("left out")
        accepted = self._table.classes.get(own.path, {}).get(class_type)
        if accepted is None:
            return _Verdict("new")
        origins = self._origins(node_class)
        is_same = self._is_same(*next(origins), accepted) and all(
            self._is_same(base, name, self._table.bases.get(base.path, {}).get(name, [])) for base, name in origins
        )
        pieces = (piece for file, name in self._origins(node_class) for piece in file.loaded.pieces(name))
        seen = tuple((piece.space, piece.name, piece.value) for piece in pieces)
        members = [vars(each) for each in node_class.__mro__[:-1]]
        sizes = tuple((space, len(space)) for space in members)
        return _Verdict("reviewed" if is_same else "changed", seen, sizes)

    def _is_same(self, file: ModuleFile, name: str, hashes: list[str]) -> bool:
        """Whether the class ``name`` is one that was reviewed, and no other code has replaced a part of it."""
        is_listed = any(hashed.startswith(f"{name}:") for hashed in hashes)
        is_whole = is_listed and file.sha256 in self._table.files.get(file.path, ())
        return (is_whole or file.source.hash_of(name) in hashes) and not file.loaded.is_replaced(name)

    def origins(self, class_type: str) -> list[tuple[ModuleFile, str]]:
        """The files and names of an installed class, and of the classes of other files that it stems from.

        Empty if ComfyUI's own files do not define it.
        """
        node_class = self._classes.get(class_type)
        return [] if node_class is None or self.file_of(node_class) is None else list(self._origins(node_class))

    def files(self) -> list[ModuleFile]:
        """The files of ComfyUI that define the classes that were looked at, and what they stem from."""
        return [file for file in self._files.values() if file is not None]

    def _origins(self, node_class: Any) -> Iterator[tuple[ModuleFile, str]]:
        own = self.file_of(node_class)
        for place, each in enumerate(node_class.__mro__):
            file = self.file_of(each)
            if file is not None and own is not None and (place == 0 or file.path != own.path):
                yield file, each.__name__

    def file_of(self, node_class: Any) -> ModuleFile | None:
        """The file of ComfyUI that defines a class; None if none does, as for the classes of packs."""
        module = module_of(node_class)
        if module is None:
            return None
        if module.__name__ not in self._files:
            self._files[module.__name__] = self._find(module)
        return self._files[module.__name__]

    def _find(self, module: ModuleType) -> ModuleFile | None:
        path = Path(str(getattr(module, "__file__", None))).resolve()
        if not path.is_relative_to(self._tree):
            return None
        inside = path.relative_to(self._tree).as_posix()
        return None if inside.startswith("custom_nodes/") else ModuleFile(module, inside)
