"""What a node pack looks up of other packs while it is imported."""

from __future__ import annotations

import sys
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from types import FunctionType, ModuleType
from typing import Any

from worker.embedded.deferred.modules.core_names import is_core_module
from worker.embedded.deferred.modules.group import vars_of
from worker.embedded.deferred.nodes.mapping import NodeClassMappings
from worker.embedded.deferred.nodes.node_files import NodeFiles
from worker.embedded.deferred.packs.observed.owner import file_of, is_below


class WatchedMappings(NodeClassMappings):
    """ComfyUI's mapping, which notes what is asked of it.

    Attributes:
        asked: the names that were asked for; None while nobody wants to know.
        listed: whether all of them were looked at.
    """

    def __init__(self, known: Mapping[str, Any], files: NodeFiles) -> None:
        super().__init__(known, files)
        self.asked: set[Any] | None = None
        self.listed = False

    def begin(self) -> None:
        """Note from now on."""
        self.asked, self.listed = set(), False

    def end(self) -> tuple[set[Any], bool]:
        """Note no more. Returns what was asked, and whether all classes were looked at."""
        asked, self.asked = self.asked or set(), None
        return asked, self.listed

    def _note(self, name: Any) -> None:
        if self.asked is not None:
            self.asked.add(name)

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._note(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        self._note(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self.listed = True
        return super().__iter__()

    def __len__(self) -> int:
        self.listed = True
        return super().__len__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """As of a dict."""
        self.listed = True
        return super().keys()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """As of a dict."""
        self.listed = True
        return super().items()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """As of a dict."""
        self.listed = True
        return super().values()


def modules_of(pack: str) -> dict[str, ModuleType]:
    """The loaded modules whose file is one of a pack, by their names."""
    loaded = list(sys.modules.items())
    modules = {name: module for name, module in loaded if issubclass(type(module), ModuleType)}
    return {name: module for name, module in modules.items() if is_below(_file(module), pack)}


def used_packs(pack: str, others: Sequence[str]) -> set[str]:
    """The packs among ``others`` whose modules, functions or classes the modules of ``pack`` hold.

    What a pack has put into ComfyUI's modules is found there, and not in the pack.
    """
    found, of_core = set(), _values_of_core()
    for module in modules_of(pack).values():
        for value in _values(vars_of(module)):
            if isinstance(value, ModuleType | FunctionType | type) and id(value) not in of_core:
                file = _file(value) if isinstance(value, ModuleType) else file_of(value)
                found |= {other for other in others if other != pack and is_below(file, other)}
    return found


def _values_of_core() -> set[int]:
    """The values of all names in ComfyUI's modules and in torch's own ones, by their ids."""
    loaded = [(name, module) for name, module in list(sys.modules.items()) if issubclass(type(module), ModuleType)]
    spaces = [vars_of(module) for name, module in loaded if is_core_module(name) or name.startswith(("torch", "PIL"))]
    return {id(value) for space in spaces for value in list(space.values())}


def _values(names: Mapping[str, Any]) -> Iterator[Any]:
    """The values of a module's names, and what is in its containers."""
    for value in list(names.values()):
        yield value
        if type(value) in (list, tuple, set):
            yield from list(value)
        elif type(value) is dict:
            yield from list(value.values())


def _file(module: ModuleType) -> str | None:
    file = vars_of(module).get("__file__")
    return file if isinstance(file, str) else None
