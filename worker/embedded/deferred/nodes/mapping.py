"""``NODE_CLASS_MAPPINGS``, whose classes of ComfyUI's own files and of packs are loaded when they are asked for."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from contextlib import suppress
from typing import Any

from worker.embedded.deferred.nodes.node_files import NodeFiles


class _Pending:
    """Keeps the place of a class in the dict. It never leaves the mapping."""

    def __init__(self, file: str) -> None:
        self.file = file


class NodeClassMappings(dict[str, Any]):
    """A dict of node classes, some of which are not loaded yet. It answers as if all of them were.

    Names are there from the start, in the order in which ComfyUI would have added them. A class is loaded when its
    value is asked for; with it, all classes of its file. What needs every value, such as ``items``, loads all files.

    Args:
        known: the classes that are loaded.
        files: loads the others.
    """

    def __init__(self, known: Mapping[str, Any], files: NodeFiles) -> None:
        super().__init__(known)
        self._files = files

    def expect(self, name: str, file: str) -> None:
        """Note that ``file`` has a class ``name``, which takes the place of an earlier one."""
        super().__setitem__(name, _Pending(file))

    def pending_files(self) -> list[str]:
        """The files that are not loaded yet, in their order."""
        return list(dict.fromkeys(value.file for value in list(super().values()) if isinstance(value, _Pending)))

    def waits_for_pack(self, name: Any) -> bool:
        """Whether a class is one of a node pack that is not loaded yet. It loads nothing."""
        value = dict.get(self, name) if isinstance(name, str) else None
        return type(value) is _Pending and self._files.is_pack(value.file)

    def pending_packs(self) -> list[str]:
        """The node packs that are not loaded yet, in their order."""
        return [file for file in self.pending_files() if self._files.is_pack(file)]

    def pending_names(self, file: str) -> list[str]:
        """The names of the classes that wait for a file or pack."""
        return [name for name, value in list(super().items()) if isinstance(value, _Pending) and value.file == file]

    def load_pack(self, file: str) -> None:
        """Load a node pack that is not loaded yet. If it cannot be loaded, its classes are gone."""
        if not self._files.is_loading(file):
            self._settle(file)

    def loaded(self) -> list[tuple[str, Any]]:
        """The classes that are loaded, with their names."""
        return [(name, value) for name, value in list(super().items()) if not isinstance(value, _Pending)]

    def _settle(self, file: str) -> None:
        """Load a file, and put its classes where they are expected. Those that it does not have are removed.

        A node pack may have more of them than were known, such as on a machine with another device.

        Raises:
            ImportError: it cannot be loaded now.
        """
        classes = self._files.load(file)
        for name, value in list(super().items()):
            if isinstance(value, _Pending) and value.file == file:
                if name in classes:
                    super().__setitem__(name, classes[name])
                else:
                    super().pop(name, None)
        for name in classes:
            if name not in self:
                super().__setitem__(name, classes[name])

    def _settle_all(self) -> None:
        while files := [file for file in self.pending_files() if not self._files.is_loading(file)]:
            for file in files:
                with suppress(ImportError):  # At the second time, its classes are removed.
                    self._settle(file)

    def __getitem__(self, name: str) -> Any:
        value = dict.__getitem__(self, name)
        return self._arrived(name, value) if type(value) is _Pending else value

    def _arrived(self, name: str, pending: _Pending) -> Any:
        if self._files.is_loading(pending.file):
            raise KeyError(name)
        self._settle(pending.file)
        return self[name]

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        value = dict.get(self, name, default)
        if type(value) is not _Pending:
            return value
        try:
            return self._arrived(name, value)
        except KeyError:
            return default

    def pop(self, name: str, *default: Any) -> Any:
        """As of a dict."""
        if name in self:
            self.get(name)
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        """As of a dict."""
        self._settle_all()
        return super().popitem()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        if name in self:
            self.get(name)
        return super().setdefault(name, default)

    def __iter__(self) -> Iterator[str]:
        # With a method of its own here, ``dict(mapping)`` and ``{**mapping}`` ask for each value, and copy no places.
        return super().__iter__()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """As of a dict."""
        self._settle_all()
        return super().items()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """As of a dict."""
        self._settle_all()
        return super().values()

    def copy(self) -> dict[str, Any]:
        """A plain dict, with all classes."""
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __eq__(self, other: object) -> bool:
        return self.copy() == (other.copy() if isinstance(other, NodeClassMappings) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self.copy())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.copy(),)

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()


def load_classes(mappings: Mapping[str, Any], names: Iterable[Any]) -> None:
    """Load the classes of these names, where their files can be loaded. Other names are passed over."""
    if not isinstance(mappings, NodeClassMappings):
        return
    for name in names:
        for _ in range(2):  # A file that failed twice is not asked for again.
            with suppress(ImportError):
                if isinstance(name, str):
                    mappings.get(name)
                break


def waits_for_pack(mappings: Mapping[str, Any], name: Any) -> bool:
    """Whether a class is one of a node pack that is not loaded yet. It loads nothing."""
    return isinstance(mappings, NodeClassMappings) and mappings.waits_for_pack(name)


def loaded_classes(mappings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The classes of ComfyUI's mapping that are loaded, with their names. It loads none."""
    return mappings.loaded() if isinstance(mappings, NodeClassMappings) else list(mappings.items())
