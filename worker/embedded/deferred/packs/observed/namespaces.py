"""What was replaced in, or added to, the modules and classes that were there before a node pack was imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from worker.embedded.deferred.modules.core_names import is_core_module
from worker.embedded.deferred.modules.group import vars_of
from worker.embedded.deferred.modules.module import group_of
from worker.embedded.deferred.packs.observed.frozen import frozen, is_container
from worker.embedded.deferred.packs.observed.owner import is_code, package_of

Names = Mapping[str, Any]
_PLAIN = (str, int, float, bool, bytes, type(None), tuple)
# ComfyUI's modules that run graphs, beside those of ``is_core_module``.
_MORE_CORE = ("execution", "comfy_execution", "comfy_config", "comfy_api", "protocol", "hook_breaker_ac10a0", "PIL")
_CHANGE_BY_USE = ("cache", "_initialized", "current_loaded_models", "warningregistry", "LOADED_MODULE_DIRS", "memo")
_missing = object()


class Namespaces:
    """The names of all modules that are loaded, and of their classes."""

    def __init__(self) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._spaces: dict[str, tuple[Names, dict[str, Any]]] = {}
        self._contents: dict[str, tuple[Any, Any]] = {}
        for name, module in list(sys.modules.items()):
            if issubclass(type(module), ModuleType):  # Some objects only claim to be modules.
                self._modules[name] = module
                if group_of(module) is None:  # Code of a module that is deferred has not run yet.
                    self._note(module)

    def _note(self, module: ModuleType) -> None:
        space: Any = vars_of(module)
        name = str(space.get("__name__"))
        spaces = [(name, space)]
        spaces += [
            (f"{name}.{each.__qualname__}", vars(each))
            for each in list(space.values())
            if issubclass(type(each), type) and type.__getattribute__(each, "__dict__").get("__module__") == name
        ]
        for full, names in spaces:
            copy = dict(names)
            self._spaces[full] = names, copy
            if _is_core(full):
                for key, value in copy.items():
                    if is_container(value) and not _changes_by_use(key):
                        self._contents[f"{full}.{key}"] = value, frozen(value)

    def changes(self) -> Iterator[str]:
        """A line for each module or name that is another one now."""
        for name, module in self._modules.items():
            now = sys.modules.get(name)
            if now is not module and not (now is None or group_of(module) is not None):
                yield f"it replaces the module {name}"
        for full, (names, copy) in self._spaces.items():
            yield from _changes(full, names, copy)
        for full, (value, content) in self._contents.items():
            if frozen(value) != content:
                yield f"it changes {full}"


def _changes(full: str, names: Names, before: Names) -> Iterator[str]:
    package, is_core = full.partition(".")[0], _is_core(full)
    for key, value in list(names.items()):
        earlier = before.get(key, _missing)
        if value is earlier or key.startswith("__") or _changes_by_use(key) or isinstance(value, ModuleType):
            continue
        if is_code(value) or (earlier is not _missing and is_code(earlier)):
            if package_of(value) not in (package, ""):  # Otherwise a package completes itself when it is used.
                yield f"it {'adds' if earlier is _missing else 'replaces'} {full}.{key}"
        elif is_core and (not isinstance(value, _PLAIN) or value != earlier):
            yield f"it {'adds' if earlier is _missing else 'changes'} {full}.{key}"


def _is_core(full: str) -> bool:
    return is_core_module(full) or full.partition(".")[0] in _MORE_CORE


def _changes_by_use(name: str) -> bool:
    return any(word in name for word in _CHANGE_BY_USE)
