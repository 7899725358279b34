"""Passes over node packs at the start, and imports each of them when a class of it is asked for."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from worker.embedded.deferred.modules.core_names import CoreNames, Replaced
from worker.embedded.deferred.modules.torch_state import usual_torch_state
from worker.embedded.deferred.nodes.classes import load_pack
from worker.embedded.deferred.nodes.mapping import NodeClassMappings
from worker.embedded.deferred.nodes.node_files import LateFile, NodeFiles, Step, run_at_once
from worker.embedded.deferred.packs.index import PackEntry
from worker.embedded.deferred.packs.observed.owner import package_of
from worker.embedded.deferred.packs.observed.process import ProcessState
from worker.embedded.start.flags import argument_list
from worker.embedded.start.loops import inside
from worker.embedded.start.node_packs import NodePack, last_warning, reason_of
from worker.logs import own_root

_log = logging.getLogger("worker")


class LatePacks:
    """The node packs that wait until a job needs them. Without ``begin``, none does.

    Args:
        core: what ComfyUI's functions were at the end of its own start.
    """

    def __init__(self, core: CoreNames) -> None:
        self._core = core
        self._alone = threading.RLock()
        self._main: Any = None
        self._files: NodeFiles
        self._entries: Mapping[str, PackEntry] = {}
        self._replaced: Replaced = ()
        self.records: list[NodePack] = []

    def begin(self, main: Any, files: NodeFiles, entries: Mapping[str, PackEntry]) -> None:
        """Pass over the packs of ``entries`` that have no reason to be imported at the start."""
        self._main, self._files, self._entries = main, files, entries

    async def load(self, load: Callable[..., Awaitable[bool]], path: str, *args: Any, **kwargs: Any) -> bool:
        """Load a pack, or pass over it: see ``LoadPack``."""
        entry = self._entries.get(path)
        if entry is None or entry.reasons or len(args) > 1:
            is_loaded = await load_pack(load, path, *args, **kwargs)
            if self._entries:
                self._replaced = self._core.replaced()
            return is_loaded
        ignored = frozenset(args[0] if args else ())
        self._pass_over(path, entry, {"ignore": ignored, **kwargs})
        return True

    def _pass_over(self, path: str, entry: PackEntry, arguments: Mapping[str, Any]) -> None:
        nodes = self._main.nodes
        surroundings = self._surroundings(sys.argv, asyncio.get_running_loop(), self._replaced)

        def run(step: Step) -> bool:
            return self._import(path, entry, step, surroundings)

        self._files.expect_pack(path, LateFile(_module_name(path), arguments, run, is_pack=True))
        for name in entry.names:
            if name not in arguments["ignore"]:
                nodes.NODE_CLASS_MAPPINGS.expect(name, path)
        nodes.NODE_DISPLAY_NAME_MAPPINGS.update(entry.shown)
        nodes.EXTENSION_WEB_DIRS.update(entry.web)
        nodes.LOADED_MODULE_DIRS.update(entry.folders)

    def _surroundings(self, argv: list[str], loop: asyncio.AbstractEventLoop, replaced: Replaced) -> Any:
        """A context that gives a late import what it would have found at its place in the start."""

        @contextmanager
        def surroundings() -> Iterator[None]:
            with ExitStack() as stack:
                for each in (argument_list(argv), own_root(), inside(loop), usual_torch_state()):
                    stack.enter_context(each)
                stack.enter_context(self._core.as_at_the_start(replaced))
                yield
            self._main.hook_breaker_ac10a0.restore_functions()

        return surroundings

    def _import(self, path: str, entry: PackEntry, step: Step, surroundings: Any) -> bool:
        began, is_loaded = time.perf_counter(), False
        with surroundings(), last_warning() as warning:
            before, functions = ProcessState(self._main), _of_others(self._core.replaced())
            try:
                is_loaded = run_at_once(step)
            except SystemExit as error:
                logging.warning("Cannot import %s: it called sys.exit(%r)", path, error.code)
            changes = list(before.changes(ProcessState(self._main)))
            if _of_others(self._core.replaced()) != functions:
                changes.append("it replaces functions of ComfyUI or torch")
        seconds, name = time.perf_counter() - began, Path(path).name
        reason = None if is_loaded else reason_of(warning.text)
        self._record(NodePack(name, seconds, reason, Path(path), () if is_loaded else tuple(entry.names)))
        if changes:
            _log.warning(
                "The node pack %s should have been imported at the start: %s. Run 'python -m worker index' on such a "
                "machine", name, "; ".join(changes),
            )  # fmt: skip
        if reason is None:
            _log.info("The node pack %s was imported when it was needed, in %.2f s", name, seconds)
        else:
            _log.warning("The node pack %s cannot be imported: %s", name, reason)
        return is_loaded

    def _record(self, pack: NodePack) -> None:
        for index, each in enumerate(self.records):
            if each.path == pack.path:
                self.records[index] = pack

    def pending(self) -> list[str]:
        """The paths of the packs that are not imported yet."""
        mappings = self._main.nodes.NODE_CLASS_MAPPINGS if self._main is not None else None
        return mappings.pending_packs() if isinstance(mappings, NodeClassMappings) else []

    def load_for(self, names: Iterable[Any]) -> None:
        """Import the packs that have these classes; and all, if no pack is known to have one of them.

        Call it where no graph runs.
        """
        if not self.pending():
            return
        mappings, names = self._main.nodes.NODE_CLASS_MAPPINGS, [name for name in names if isinstance(name, str)]
        with self._alone:
            for name in names:
                if mappings.waits_for_pack(name):
                    mappings.get(name)
            # On a machine with another device, a pack may have more classes than where the index was made.
            if any(name not in mappings for name in names):
                while self.load_next():
                    pass

    def load_next(self) -> bool:
        """Import a pack that waits, where no graph runs. Returns whether another one waits."""
        with self._alone:
            if waiting := self.pending():
                self._main.nodes.NODE_CLASS_MAPPINGS.load_pack(waiting[0])
            return len(waiting) > 1

    def load_idly(self) -> bool:
        """``load_next`` that raises nothing: a job that needs the pack is told why it fails."""
        try:
            return self.load_next()
        except Exception:  # noqa: BLE001 - code of a pack may raise anything.
            _log.exception("A node pack cannot be imported")
            return False

    @contextmanager
    def graph_runs(self) -> Iterator[None]:
        """Within this context, a graph runs. Who wants to import a pack for something else waits for its end."""
        with self._alone:
            yield


def _of_others(replaced: Replaced) -> set[tuple[str, str, int]]:
    """Those names whose value is another package's. torch completes itself when it is used."""
    named = ((str(space["__name__"]), name, value) for space, name, value in replaced)
    return {(module, name, id(value)) for module, name, value in named if package_of(value) != module.partition(".")[0]}


def _module_name(path: str) -> str:
    """As ComfyUI calls the module of a pack."""
    return str(Path(path).with_suffix("")) if Path(path).is_file() else path.replace(".", "_x_")
