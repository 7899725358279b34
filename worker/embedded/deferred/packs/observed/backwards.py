"""Imports the packs that wait, the last one first, in a process that has passed over them.

A pack that others must come before, or that does something only then, is found here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.embedded.deferred.packs.observed.effects import effects, use_up
from worker.embedded.deferred.packs.observed.files import OpenedFiles
from worker.embedded.deferred.packs.observed.namespaces import Namespaces
from worker.embedded.deferred.packs.observed.process import ProcessState


def look_backwards(runtime: Any) -> dict[str, list[str]]:
    """Reasons to import packs at the start, by their paths. Those without one are left out.

    Args:
        runtime: a ``Runtime`` that was started with ``LAZY_CUSTOM_NODES``.
    """
    use_up()
    main, late, opened = runtime.main, runtime.late_packs, OpenedFiles()
    mappings, found = main.nodes.NODE_CLASS_MAPPINGS, dict[str, list[str]]()
    names = {path: mappings.pending_names(path) for path in late.pending()}
    for path in reversed(list(names)):
        if path not in late.pending():  # Another one has asked for a class of it.
            found[path] = ["another pack asks for its classes when it is imported"]
            continue
        spaces, before = Namespaces(), ProcessState(main)
        with opened.noted() as (_, written):
            mappings.load_pack(path)
        reasons = list(effects(main, path, spaces, before, written))
        failed = next((pack.error for pack in runtime.node_packs if pack.path == Path(path) and pack.error), None)
        if failed:
            reasons.append(f"it cannot be imported where no other pack was before: {failed}")
        elif lacking := [name for name in names[path] if name not in mappings]:
            reasons.append(f"it lacks classes where no other pack was before: {', '.join(lacking[:3])}")
        if reasons:
            found[path] = reasons
    return found
