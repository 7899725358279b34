"""Prints what is needed and where it is, for a person and as JSON."""

from __future__ import annotations

import argparse
import shutil
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from worker.embedded.start.folders_only import Folders
from worker.environment.manager_map import is_of_comfyui, listed_packs, packs_of_class
from worker.environment.needs import as_numbers
from worker.environment.packs import NoPack, install_text
from worker.environment.plan import PlannedModel, PlannedPack, State
from worker.fetch.address import without_secrets
from worker.fetch.part import left_over
from worker.models.damage import size_text

if TYPE_CHECKING:
    from worker.cli.prepare.command import Plan

_STYLES = {State.THERE: "green", State.MISSING: "yellow"}
_WORDS = {
    State.THERE: "there",
    State.MISSING: "missing",
    State.UNKNOWN: "unknown",
    State.FAILED: "failed",
    State.DIFFERENT: "different",
}
_MOST_CLASSES = 8


def print_plan(console: Console, plan: Plan, folders: Folders) -> None:
    """Print what is needed, what is there, and what would be fetched."""
    for model in plan.models:
        _print_model(console, model)
    for pack in plan.packs:
        _print_pack(console, pack)
    if not plan.models and not plan.packs:
        console.print("No model file and no node pack is named.")
    for note in (*_version_notes(plan, folders), *plan.needs.notes):
        console.print(f"note: {plain(note)}", style="dim", markup=False)
    if plan.models:
        console.print(_totals(plan), markup=False)


def print_hints(console: Console, plan: Plan, options: argparse.Namespace) -> None:
    """Print what failed, and what to do next."""
    fetchable = any(model.state is State.MISSING for model in plan.models)
    if options.yes:
        for model in plan.models:
            if model.state is not State.THERE:
                text = f"{model.need.name}: {model.remark or model.state}"
                console.print(plain(text), style="red", markup=False)
    elif fetchable:
        console.print("Run it again with --yes to fetch the models that are missing", style="bold")
    wanting = [pack for pack in plan.packs if pack.state in (State.MISSING, State.DIFFERENT)]
    if wanting and not options.install_packs:
        console.print("Run it again with --install-packs to install the packs; their code will run here", style="bold")
    if plan.is_complete:
        console.print("All of it is there", style="bold green")


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "complete": plan.is_complete,
        "models": [_model_json(model) for model in plan.models],
        "packs": [_pack_json(pack) for pack in plan.packs],
        "classes_of_unknown_packs": {name: plan.needs.classes[name] for name in plan.unplaced_classes},
        "notes": plan.needs.notes,
    }


def _print_model(console: Console, model: PlannedModel) -> None:
    need, style = model.need, _STYLES.get(model.state, "red")
    size = size_text(model.size) if model.size is not None else ""
    name = f"{need.directory or '?'}/{need.name}"
    console.print(f"[{style}]{_WORDS[model.state]:<9}[/] {size:>10}  {escape(plain(name))}")
    lines = [f"needed by {need.where}"]
    if model.state is State.THERE:
        lines = [str(model.path)]
    elif model.state is State.MISSING and model.path is not None:
        lines += [f"from {without_secrets(need.url or '')}", f"into {model.path.parent}"]
        if come := left_over(model.path):
            lines.append(f"{size_text(come)} of it have come already")
    elif need.url:
        lines.append(f"from {without_secrets(need.url)}")
    for line in (*lines, *([model.remark] if model.remark else [])):
        console.print(" " * 22 + plain(line), style="dim", markup=False)


def _print_pack(console: Console, pack: PlannedPack) -> None:
    style = _STYLES.get(pack.state, "red")
    version = pack.installed.shown if pack.installed else pack.need.wanted[:40]
    console.print(
        f"[{style}]{_WORDS[pack.state]:<9}[/] {'pack':>10}  {escape(plain(pack.need.name))} {escape(version)}"
    )
    lines = [] if pack.state is State.THERE else [f"needed by {pack.need.where}"]
    for line in (*lines, *([pack.remark] if pack.remark else [])):
        console.print(" " * 22 + plain(line), style="dim", markup=False)


def _version_notes(plan: Plan, folders: Folders) -> list[str]:
    notes = []
    here = folders.source.version
    newest = max(plan.needs.comfyui, key=as_numbers, default="")
    if as_numbers(newest) > as_numbers(here):
        notes.append(f"made with ComfyUI {newest[:40]}, and {here} is here: newer nodes may be missing")
    classes = plan.unplaced_classes
    if classes:
        names = ", ".join(classes[:_MOST_CLASSES])
        more = len(classes) - _MOST_CLASSES
        notes.append(
            f"which pack these node classes belong to is not said: {names}{f' and {more} more' if more > 0 else ''}. "
            "'python -m worker models' says which of them are not there"
        )
    for name in classes:
        listed = listed_packs(name, folders.custom_nodes)
        if listed and not is_of_comfyui(packs_of_class(name, folders.custom_nodes)):
            notes.append(f"{name}: {listed}")
    return notes


def _totals(plan: Plan) -> str:
    missing = [model for model in plan.models if model.state is State.MISSING]
    there = sum(model.state is State.THERE for model in plan.models)
    text = f"{there} of {len(plan.models)} models are there"
    if missing:
        targets = {model.path: model for model in missing}.values()
        known = [model.size for model in targets if model.size is not None]
        text += f"; {len(targets)} to fetch, {size_text(sum(known))}"
        text += "" if len(known) == len(targets) else f" and {len(targets) - len(known)} of unknown size"
        folder = next(iter(targets)).path
        existing = next((path for path in folder.parents if path.is_dir()), None) if folder else None
        if existing is not None:
            text += f"; {size_text(shutil.disk_usage(existing).free)} are free"
    return text


def _model_json(model: PlannedModel) -> dict[str, Any]:
    need = model.need
    return {
        "name": need.name,
        "directory": need.directory,
        "state": str(model.state),
        "size": model.size,
        "sha256": model.sha256,
        "path": str(model.path) if model.path else None,
        "url": without_secrets(need.url) if need.url else None,
        "needed_by": need.where,
        "remark": model.remark or None,
    }


def _pack_json(pack: PlannedPack) -> dict[str, Any]:
    try:
        install = install_text(pack.need)
    except NoPack:
        install = None
    return {
        "name": pack.need.name,
        "state": str(pack.state),
        "wanted": pack.need.wanted or None,
        "installed": pack.installed.shown if pack.installed else None,
        "install": install,
        "needed_by": pack.need.where,
        "remark": pack.remark or None,
    }


def plain(text: str) -> str:
    """``text`` with its control characters escaped, since they could change the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
