"""Installs one pack: fetches it into ``custom_nodes``, installs its requirements, and runs its install.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node_packs.destination import Destination, stage, swapped
from node_packs.failure import PackFailed, PackRefused
from node_packs.git import check_out, has_changes, head
from node_packs.packages import Change, Packages, pip_arguments
from node_packs.process import run
from node_packs.registry import find_release, installed_version, unpack_release
from node_packs.source import GitSource, Source


@dataclass(frozen=True)
class Plan:
    """How to install: where, with which packages, and which steps to leave out."""

    destination: Destination
    packages: Packages
    registry: str
    dry_run: bool
    install_script: bool
    say: Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The outcome for one pack. ``reason``: why it is not installed; empty if it is."""

    source: Source
    outcome: str
    version: str = ""
    packages: tuple[Change, ...] = ()
    reason: str = ""


def install_pack(source: Source, plan: Plan) -> Outcome:
    """Install one pack. If that fails, its folder is restored."""
    version = ""
    try:
        plan.packages.check_protected()
        parent = None if plan.dry_run else plan.destination.custom_nodes
        with stage(parent) as folder:
            new, target = folder / "pack", plan.destination.folder(source.folder)
            version, pin = _fetch(source, new, folder, plan.registry)
            if pin:
                plan.say(f"{source}: to get the same again, write {pin}")
            if version in (head(target), installed_version(target)):
                return Outcome(source, "already installed", version)
            if has_changes(target):
                raise PackRefused(f"{target} has changes that are not committed: commit them or remove the folder")
            changes = _install(source, new, target, folder, plan)
            done = "would be installed" if plan.dry_run else "replaced" if (folder / "old").exists() else "installed"
            return Outcome(source, done, version, changes)
    except PackFailed as failure:
        return Outcome(source, failure.outcome, version, reason=str(failure))
    except OSError as error:
        return Outcome(source, "failed", version, reason=f"{error.filename or 'the folder'}: {error.strerror or error}")


def _fetch(source: Source, new: Path, scratch: Path, registry: str) -> tuple[str, str]:
    """Put the pack into ``new``. Returns its version, and how to name exactly this version if ``source`` does not."""
    if isinstance(source, GitSource):
        commit = check_out(source, new)
        return commit, "" if source.revision == commit else f"{source.shown}@{commit}"
    release = find_release(source, registry)
    unpack_release(release, new, scratch / "archive.zip")
    return release.version, "" if source.version else f"{release.name}@{release.version}"


def _install(source: Source, new: Path, target: Path, folder: Path, plan: Plan) -> tuple[Change, ...]:
    arguments = pip_arguments(new, folder)
    changes = plan.packages.plan(arguments, new) if arguments else ()
    for change in changes:
        if change.before:
            plan.say(f"warning: {source} replaces a package: {change}")
    if changes:
        plan.say(f"{source}: {'would install' if plan.dry_run else 'installing'} {', '.join(map(str, changes))}")
    if plan.dry_run:
        return changes
    # First move the pack, then install its requirements, since they and install.py may store the pack's path.
    with swapped(new, target, folder / "old"):
        if changes:
            plan.packages.install(arguments, target)
        code = 0
        if plan.install_script and (target / "install.py").is_file():
            plan.say(f"{source}: running its install.py")
            code = _run_install_script(target, plan)
        plan.packages.check_protected()
        if code:
            raise PackFailed(f"its install.py ended with exit code {code}; its output stands above")
        _compile(target)
    return changes


def _compile(target: Path) -> None:
    """Compile the pack, since the worker writes nothing there. What cannot be compiled is told when it is imported."""
    # Without -P, modules of the pack would replace Python's own.
    command = (sys.executable, "-P", "-W", "ignore", "-m", "compileall", "-q", "-q", str(target))
    run(command, target, {})


def _run_install_script(target: Path, plan: Plan) -> int:
    """Run ``install.py`` as ComfyUI-Manager does: in the pack's folder, with ComfyUI's folders in the environment."""
    comfyui = {
        "COMFYUI_PATH": plan.destination.comfyui,
        "COMFYUI_FOLDERS_BASE_PATH": plan.destination.custom_nodes.parent,
    }
    environment = {name: os.environ.get(name) or str(path) for name, path in comfyui.items()}
    return run((sys.executable, "install.py"), target, plan.packages.environment | environment, show=True).code
