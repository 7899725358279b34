"""What became of each custom node pack at start: import time, or the reason why it failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class NodePack:
    """A custom node pack. ``seconds``: import time. ``error``: why it failed, or None."""

    name: str
    seconds: float
    error: str | None


class _LastWarning(logging.Handler):
    """ComfyUI tells why a pack failed in its log only; the last warning is the reason."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage().strip()


@contextmanager
def _last_warning() -> Iterator[_LastWarning]:
    """Listen to the log, at whatever level it is kept."""
    root, handler = logging.getLogger(), _LastWarning()
    level = root.level
    root.setLevel(min(level, logging.WARNING))
    logging.Logger.addHandler(root, handler)  # While ComfyUI starts, the root logger itself takes none.
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def recording_packs(nodes: Any) -> Iterator[list[NodePack]]:
    """Watch ComfyUI's ``nodes.load_custom_node`` and note each custom pack in the list that is handed out.

    A pack that calls ``sys.exit`` while it is imported is one that failed, not the end of the process.
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
