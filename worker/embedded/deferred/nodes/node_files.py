"""Loads ComfyUI's own node files, and node packs, with ComfyUI's own function."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from worker.embedded.deferred.modules.group import import_lock
from worker.embedded.deferred.modules.module import fill

Classes = Mapping[str, Any]
Step = Coroutine[Any, Any, Any]


@dataclass(frozen=True)
class LateFile:
    """A node file or a node pack that is loaded later.

    Attributes:
        module: the name of its module.
        arguments: what ComfyUI's function gets beside the path.
        run: runs that function, and returns whether it could load the file.
        is_pack: whether it is a node pack: it is tried only once, and may have other classes than those that are known.
    """

    module: str
    arguments: Mapping[str, Any]
    run: Callable[[Step], bool]
    is_pack: bool = False


class NodeFiles:
    """Loads node files and node packs.

    Args:
        nodes: ComfyUI's ``nodes`` module, none of whose functions is replaced yet.
        surroundings: a context in which files run that are loaded late.
        loaded: called with the classes of such a file, by name.
    """

    def __init__(
        self, nodes: Any, surroundings: Callable[[], AbstractContextManager[None]], loaded: Callable[[Classes], None]
    ) -> None:
        self._nodes, self._surroundings, self._loaded = nodes, surroundings, loaded
        self._load_custom_node: FunctionType = nodes.load_custom_node
        self._late: dict[str, LateFile] = {}
        self._classes: dict[str, Classes] = {}
        self._loading: dict[str, int] = {}
        self._failed: set[str] = set()

    def expect(self, path: str, parent: str) -> None:
        """Note that a file is not loaded now."""
        self._late[path] = LateFile(_module_name(path), {"module_parent": parent}, self._run)
        self._nodes.LOADED_MODULE_DIRS[_module_name(path)] = str(Path(path).parent.absolute())

    def expect_pack(self, path: str, pack: LateFile) -> None:
        """Note that a node pack is not loaded now."""
        self._late[path] = pack

    def is_pack(self, path: str) -> bool:
        """Whether it is a node pack that was expected."""
        return path in self._late and self._late[path].is_pack

    def is_loading(self, path: str) -> bool:
        """Whether this thread loads the file now: what the file asks for is not there yet."""
        return self._loading.get(path) == threading.get_ident()

    async def load_now(self, path: str, *args: Any, **kwargs: Any) -> tuple[bool, Classes, dict[str, str], bool]:
        """Load a file, or a pack, in ComfyUI's start.

        Returns:
            Whether it could be loaded; its classes and shown names; and whether it waited for something.
        """
        classes: dict[str, Any] = {}
        shown: dict[str, str] = {}
        watched = Watched(self.into(classes, shown)(path, *args, **kwargs))
        is_loaded = bool(await watched)
        return is_loaded, classes, shown, watched.waited

    def load(self, path: str) -> Classes:
        """Load a file that was expected, once.

        Returns:
            Its classes; none if it failed twice.

        Raises:
            ImportError: it failed. The reason, such as an interrupt, may be gone at the next try.
        """
        late = self._late[path]
        with import_lock(late.module):
            if path not in self._classes:
                self._loading[path] = threading.get_ident()
                try:
                    classes: dict[str, Any] = {}
                    is_loaded = late.run(self.into(classes, {})(path, **late.arguments))
                    if is_loaded:
                        _fill_what_it_uses(late.module)
                        self._loaded(classes)
                finally:
                    del self._loading[path]
                if not (is_loaded or late.is_pack or path in self._failed):
                    self._failed.add(path)
                    raise ImportError(f"{Path(path).name} of ComfyUI could not be loaded")
                self._classes[path] = classes if is_loaded else {}
            return self._classes[path]

    def _run(self, step: Step) -> bool:
        with self._surroundings():
            return run_at_once(step)

    def into(self, classes: dict[str, Any], shown: dict[str, str], **others: Any) -> FunctionType:
        """ComfyUI's function, which puts what it finds into these. ``others``: further names of its module."""
        original = self._load_custom_node
        names = {**vars(self._nodes), **others, "NODE_CLASS_MAPPINGS": classes, "NODE_DISPLAY_NAME_MAPPINGS": shown}
        return FunctionType(original.__code__, names, original.__name__, original.__defaults__, original.__closure__)


def _module_name(path: str) -> str:
    """As ComfyUI calls the module of a file."""
    return str(Path(path).with_suffix(""))


def _fill_what_it_uses(name: str) -> None:
    """Fill the modules that a node file has imported, now and not while its node runs within its limits."""
    for value in list(vars(sys.modules[name]).values()):
        if isinstance(value, type(sys)):
            fill(value)


def run_at_once(step: Step) -> bool:
    """Run what does not wait for anything, also where an event loop runs. Returns whether it returned a true value."""
    try:
        step.send(None)
    except StopIteration as end:
        return bool(end.value)
    step.close()
    return False


class Watched:
    """Awaits something, and notes whether it had to wait."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.waited = False

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._step.__await__()
        value = None
        while True:
            try:
                asked = inner.send(value)
            except StopIteration as end:
                return end.value
            self.waited = True
            value = yield asked
