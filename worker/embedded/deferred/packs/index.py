"""Which node classes each node pack has, and why some packs must be imported at the start: made once, and kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worker.embedded.deferred.packs.content import digest, stamp
from worker.embedded.start.cache_folders import keep

_RULES = 1  # By which packs are looked at: another number whenever these change.


@dataclass(frozen=True)
class PackEntry:
    """A node pack.

    Attributes:
        names: those of its node classes, in its order.
        shown: the names that ComfyUI's page shows.
        web: its entries in ComfyUI's ``EXTENSION_WEB_DIRS``.
        folders: its entries in ComfyUI's ``LOADED_MODULE_DIRS``.
        reasons: why it must be imported at the start. Empty: it can be imported later.
        seconds: how long its import took.
        read: files in its folder that its import has read, beside its code.
        stamp, digest: see ``content``.
    """

    names: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)
    web: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0
    read: list[str] = field(default_factory=list)
    stamp: str = ""
    digest: str = ""


class StaleIndex(Exception):
    """The index cannot be used. The text says why, as the end of a sentence."""


def installed_packs(main: Any) -> list[str]:
    """The paths of the node packs that ComfyUI loads, by the rules of its own loader.

    Args:
        main: ComfyUI's ``main`` module.
    """
    args, found = main.args, []
    if args.disable_all_custom_nodes and not args.whitelist_custom_nodes:
        return []
    for folder in main.folder_paths.get_folder_paths("custom_nodes"):
        for name in os.listdir(os.path.realpath(folder)):  # noqa: PTH208 - as ComfyUI does, in its order.
            path = os.path.join(folder, name)  # noqa: PTH118
            is_pack = name.endswith(".py") or not os.path.isfile(path)  # noqa: PTH113
            is_off = name == "__pycache__" or name.endswith(".disabled")
            if (
                is_pack
                and not is_off
                and not (args.disable_all_custom_nodes and name not in args.whitelist_custom_nodes)
            ):
                found.append(path)
    return found


def read_index(folders: Sequence[Path], tree_state: str, packs: Sequence[str]) -> dict[str, PackEntry]:
    """The index, if it is for exactly these packs, with the files that they have now.

    Args:
        folders: where it may lie.
        tree_state: of ComfyUI's tree.
        packs: paths of all packs.

    Raises:
        StaleIndex: there is none, or it was made for something else.
    """
    kept = _kept(folders, packs)
    if kept is None:
        raise StaleIndex("there is no index of them")
    try:
        if kept["surroundings"] != _surroundings(tree_state):
            raise StaleIndex("their index was made with another ComfyUI, Python or set of Python packages")
        entries = {path: PackEntry(**entry) for path, entry in kept["packs"].items()}
        _check(entries, packs)
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        raise StaleIndex("their index cannot be read") from None
    return entries


def keep_index(folders: Sequence[Path], tree_state: str, entries: Mapping[str, PackEntry]) -> Path | None:
    """Write an index into the first of ``folders`` that can be written. Returns its path; None if none can be."""
    content = {
        "rules": _RULES,
        "surroundings": _surroundings(tree_state),
        "packs": {path: asdict(entry) for path, entry in entries.items()},
    }
    places = [folder / _name(entries) for folder in folders]
    text = json.dumps(content).encode()
    keep(places, text)
    return next((place for place in places if place.is_file() and place.read_bytes() == text), None)


def _check(entries: Mapping[str, PackEntry], packs: Sequence[str]) -> None:
    """Raise StaleIndex if ``entries`` are not those of ``packs``."""
    if new := [path for path in packs if path not in entries]:
        raise StaleIndex(f"{_names(new)} came after their index was made")
    if gone := set(entries).difference(packs):
        raise StaleIndex(f"{_names(gone)} went after their index was made")
    if changed := [path for path in packs if not _is_same(path, entries[path])]:
        raise StaleIndex(f"{_names(changed)} changed after their index was made")


def _is_same(path: str, entry: PackEntry) -> bool:
    # A copy, as by COPY in a Dockerfile, may have other times. Then the content decides.
    return stamp(path, entry.read) == entry.stamp or digest(path, entry.read) == entry.digest


def _names(paths: Iterable[str]) -> str:
    names = sorted(Path(path).name for path in paths)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _kept(folders: Sequence[Path], packs: Iterable[str]) -> Any:
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads((folder / _name(packs)).read_text("utf-8"))
            if isinstance(kept, dict) and kept.get("rules") == _RULES:
                return kept
    return None


def _name(packs: Iterable[str]) -> str:
    """The index's file name. It depends on the folders of packs, so that several ComfyUIs may have one each."""
    folders = "\n".join(sorted({os.path.dirname(path) for path in packs}))  # noqa: PTH120
    return f"packs-{hashlib.sha256(folders.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.json"


def _surroundings(tree_state: str) -> str:
    """ComfyUI's tree, Python, and all packages that are installed: a pack may try to import any of them."""
    packages = set[str]()
    for folder in sys.path:
        with contextlib.suppress(OSError):
            names = os.listdir(folder or ".")  # noqa: PTH208 - this runs at each start.
            packages.update(name for name in names if name.endswith((".dist-info", ".egg-info")))
    return hashlib.sha256("\n".join([tree_state, *sorted(packages)]).encode()).hexdigest()[:32]
