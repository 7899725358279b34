"""Records the import of each custom node pack: how long it took, and why it failed."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.events import Notice
from worker.start_steps import PACK, STEPS

_CANNOT_IMPORT = re.compile(r"Cannot import .*? module for custom nodes: ")
_MOST_FILES, _MOST_CHARACTERS = 2000, 5_000_000


@dataclass(frozen=True)
class NodePack:
    """A custom node pack, or a file of ComfyUI's own nodes that failed.

    ``path``: its folder or file. ``seconds``: import time. ``error``: why the import failed, or None. ``lacking``: the
    node classes that it was to have, if its import failed when a job needed it.
    """

    name: str
    seconds: float
    error: str | None
    path: Path
    lacking: tuple[str, ...] = ()


def failed_pack_of(class_type: str, packs: Iterable[NodePack]) -> NodePack | None:
    """The pack that failed to load and seems to have this node class: its source has the name in quotes."""
    packs = list(packs)
    if known := next((pack for pack in packs if class_type in pack.lacking), None):
        return known
    quoted = f'"{class_type}"', f"'{class_type}'"
    return next((pack for pack in packs if pack.error and any(text in _source(pack.path) for text in quoted)), None)


@functools.lru_cache(maxsize=16)
def _source(pack: Path) -> str:
    """The beginning of a pack's source, so that the memory that it takes is bounded."""
    files = [pack] if pack.is_file() else sorted(itertools.islice(pack.rglob("*.py"), _MOST_FILES))
    texts, left = [], _MOST_CHARACTERS
    for file in files:
        with contextlib.suppress(OSError):
            texts.append(file.read_text(encoding="utf-8", errors="replace")[:left])
            left -= len(texts[-1])
    return "\n".join(texts)


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
def last_warning() -> Iterator[_LastWarning]:
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
def recording_packs(nodes: Any, packs: list[NodePack]) -> Iterator[list[NodePack]]:
    """Within this context, each custom pack that ComfyUI loads is added to ``packs``.

    If a pack calls ``sys.exit`` while it is imported, only its import fails, and the process goes on.
    """
    load = nodes.load_custom_node

    async def load_custom_node(module_path: str, *args: Any, **kwargs: Any) -> bool:
        parent = kwargs.get("module_parent", "custom_nodes")
        start = time.perf_counter()
        with last_warning() as reason:
            try:
                loaded = bool(await load(module_path, *args, **kwargs))
            except SystemExit as error:
                loaded = False
                logging.warning("Cannot import %s: it called sys.exit(%r)", module_path, error.code)
        path, seconds = Path(module_path), time.perf_counter() - start
        if parent == "custom_nodes":
            STEPS.add(PACK + path.name, seconds)
            packs.append(NodePack(path.name, seconds, None if loaded else reason_of(reason.text), path))
        elif not loaded:  # ComfyUI's own nodes: those that could be loaded are no packs.
            packs.append(NodePack(f"{parent}/{path.name}", seconds, reason_of(reason.text), path))
        return loaded

    nodes.load_custom_node = load_custom_node
    try:
        yield packs
    finally:
        nodes.load_custom_node = load


def reason_of(warning: str) -> str:
    """Why a pack failed, from the warning that ComfyUI gave."""
    return _CANNOT_IMPORT.sub("", warning, count=1) or "it gave no reason"
