"""Which Python packages are installed, and which of them are loaded."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import sys


def installed() -> set[str]:
    """All installed packages with their versions, such as ``numpy-2.1.0``."""
    found = set()
    for folder in sys.path:
        with contextlib.suppress(OSError):
            found |= {_named(name) for name in os.listdir(folder or ".")}  # noqa: PTH208 - this runs at each start.
    return found


def loaded_packages() -> set[str]:
    """Those of which a module is loaded. This takes some tenths of a second."""
    modules = {name.partition(".")[0] for name in sys.modules}
    packages = importlib.metadata.packages_distributions()
    names = {name for module in modules for name in packages.get(module, ())}
    return {_named(f"{name}-{importlib.metadata.version(name)}.dist-info") for name in names} & installed()


def missing(package: str) -> bool:
    """Whether a package cannot be imported, since it is not installed."""
    try:
        return importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        return False


def _named(folder: str) -> str:
    return folder.removesuffix(".dist-info").removesuffix(".egg-info").replace("-", "_").lower()
