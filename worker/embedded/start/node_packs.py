"""Records the import of each custom node pack: how long it took, and why it failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.events import Notice


@dataclass(frozen=True)
class NodePack:
    """A custom node pack. ``seconds``: import time. ``error``: why the import failed, or None."""

    name: str
    seconds: float
    error: str | None


def off_main_thread(packs: list[NodePack]) -> Iterator[Notice]:
    """A warning for each pack that failed because it handles signals, and this is not the main thread.

    Python lets only the main thread set up handlers. Its error does not say what to do.
    """
    for pack in packs:
        if pack.error and "only works in main thread" in pack.error:
            text = f"{pack.name} handles signals, which only a program's main thread can set up: start the Worker there"
            yield Notice(text, is_warning=True)


class _LastWarning(logging.Handler):
    """Keeps the text of the last warning. ComfyUI says only in such a warning why a pack failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage().strip()


@contextmanager
def _last_warning() -> Iterator[_LastWarning]:
    """Listen to warnings, even if the log's level is above them."""
    root, handler = logging.getLogger(), _LastWarning()
    level = root.level
    root.setLevel(min(level, logging.WARNING))
    logging.Logger.addHandler(root, handler)  # ``root.addHandler`` does nothing while ComfyUI starts.
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def recording_packs(nodes: Any) -> Iterator[list[NodePack]]:
    """Within this context, each custom pack that ComfyUI loads is added to the list.

    If a pack calls ``sys.exit`` while it is imported, only its import fails, and the process goes on.
    """
    packs: list[NodePack] = []
    load = nodes.load_custom_node

    async def load_custom_node(module_path: str, *args: Any, **kwargs: Any) -> bool:
        if kwargs.get("module_parent", "custom_nodes") != "custom_nodes":
            return bool(await load(module_path, *args, **kwargs))
        start = time.perf_counter()
        with _last_warning() as reason:
            try:
                loaded = bool(await load(module_path, *args, **kwargs))
            except SystemExit as error:
                loaded = False
                logging.warning("Cannot import %s: it called sys.exit(%r)", module_path, error.code)
        error_text = None if loaded else reason.text or "it gave no reason"
        packs.append(NodePack(Path(module_path).name, time.perf_counter() - start, error_text))
        return loaded

    nodes.load_custom_node = load_custom_node
    try:
        yield packs
    finally:
        nodes.load_custom_node = load
