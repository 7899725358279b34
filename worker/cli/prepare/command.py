"""Runs ``prepare``: reads the files, looks what is there, fetches, installs, looks again, and writes the lock."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from worker.cli.exit_code import ExitCode
from worker.cli.prepare.bars import Bars
from worker.cli.prepare.shown import as_json, plain, print_hints, print_plan
from worker.embedded.reviewed.table import review_table
from worker.embedded.start.folders_only import Folders, find_folders
from worker.embedded.start.source import PROJECT
from worker.environment.build_file import write_build_file
from worker.environment.lock import Lock, make_lock
from worker.environment.needs import Needs, together
from worker.environment.packs import install_text, installed_packs
from worker.environment.places import Places
from worker.environment.plan import Looking, PlannedModel, PlannedPack, State, plan_models, plan_packs
from worker.environment.read_files import read_needs
from worker.environment.registry import Registry, exactly, with_source
from worker.errors import FetchFailed, InvalidJob
from worker.fetch.address import CIVITAI_HOST, HF_HOST, TOKEN_VARIABLES, Tokens
from worker.fetch.connections import Connections
from worker.fetch.download import Wanted
from worker.fetch.several import fetch_several, without_room
from worker.models.damage import damage, size_text
from worker.settings import Settings, take_settings


@dataclass(frozen=True)
class Plan:
    """Everything that is needed, and where it is."""

    needs: Needs
    models: Sequence[PlannedModel]
    packs: Sequence[PlannedPack]

    @property
    def unplaced_classes(self) -> list[str]:
        """The node classes of which nobody says which pack they are of, without those that ComfyUI has."""
        known = review_table().names() if self.needs.classes else set()
        return [name for name in self.needs.classes if name not in known]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        states = [*(model.state for model in self.models), *(pack.state for pack in self.packs)]
        return all(state is State.THERE for state in states)


def prepare(options: argparse.Namespace) -> int:
    """Run the command. Returns its exit code.

    Raises:
        InvalidJob, StartError, OSError: ``worker.__main__`` prints them.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.lock is not None and (options.lock.is_dir() or not options.lock.absolute().parent.is_dir()):
        raise InvalidJob(f"--lock {options.lock}: there is no such folder, or it is one itself")
    console = Console(stderr=options.json, highlight=False, soft_wrap=True)
    needs = together(read_needs(path) for path in options.files)
    settings = take_settings()  # So that what a pack's installation starts finds no secret of the worker.
    folders = find_folders(settings)
    connections = Connections(_tokens(settings), any_host=options.any_host)
    stop = threading.Event()
    with Bars(Console(stderr=True)) as bars:
        places = _places(options, folders)
        looking = Looking(connections, places, bars.reading, stop, options.verify, options.lock is not None)
        packs = plan_packs(needs.packs, installed_packs(folders.custom_nodes))
        registry = Registry(Connections(Tokens(), any_host=True), settings.comfy_registry_url)
        packs = [_sourced(pack, registry, exact=options.lock is not None) for pack in packs]
        plan = Plan(needs, plan_models(needs.models, looking), packs)
    print_plan(console, plan, folders)
    if options.yes:
        plan = replace(plan, models=_fetch(plan.models, connections, stop, options, console))
    if options.install_packs:
        plan = replace(plan, packs=_install(plan.packs, folders, console))
    lock = _write_lock(options.lock, plan, folders, console)
    print_hints(console, plan, options)
    if options.json:
        print(json.dumps(as_json(plan), indent=2))
    if lock is not None and not options.yes and not options.install_packs:
        return ExitCode.WORKED if lock.is_exact else ExitCode.FAILED
    return ExitCode.WORKED if plan.is_complete and (lock is None or lock.is_exact) else ExitCode.FAILED


def _sourced(pack: PlannedPack, registry: Registry, *, exact: bool) -> PlannedPack:
    """``pack`` with what its installation, or a lock, must know of it. A pack that is there is not asked about."""
    if pack.state not in (State.MISSING, State.DIFFERENT):
        return pack
    need = with_source(pack.need, registry)
    return replace(pack, need=exactly(need, registry) if exact else need)


def _tokens(settings: Settings) -> Tokens:
    given = {HF_HOST: settings.hf_token, CIVITAI_HOST: settings.civitai_token}
    return Tokens({host: token.get_secret_value().strip() for host, token in given.items() if token is not None})


def _places(options: argparse.Namespace, folders: Folders) -> Places:
    roots = folders.roots
    if options.into is not None:
        into = options.into.expanduser().absolute()
        read = {path.parent for folder in folders.models for path in folder.paths}
        if into not in read and into not in roots:
            known = ", ".join(map(str, sorted(read)))
            raise InvalidJob(f"--into {options.into}: ComfyUI reads no models there; it reads {known}")
        roots = (into, *(root for root in roots if root != into))
    return Places(folders.models, roots, options.pickles, options.new_folders, folders.cached)


def _fetch(
    models: Sequence[PlannedModel],
    connections: Connections,
    stop: threading.Event,
    options: argparse.Namespace,
    console: Console,
) -> list[PlannedModel]:
    """Fetch what is missing. Returns the models as they are then."""
    wanted = {id(model): _wanted(model) for model in models if model.state is State.MISSING}
    files = list({file.target: file for file in wanted.values() if file is not None}.values())
    for folder, needed, free in without_room(files):
        console.print(
            f"There is no room on the disk of {folder}: {size_text(needed)} are to come, {size_text(free)} are free",
            style="bold red",
            markup=False,
        )
        return [replace(model, remark="no room") if id(model) in wanted else model for model in models]
    with Bars(Console(stderr=True)) as bars:
        bars.expect(files)
        found = fetch_several(connections, files, bars.received, stop, _judge, options.at_once)
    by_target = {file.target: result for file, result in found.items()}
    done = []
    for model in models:
        result = by_target.get(model.path) if id(model) in wanted and model.path else None
        if isinstance(result, FetchFailed):
            model = replace(model, state=State.FAILED, remark=str(result))
        elif result is not None:
            model = replace(model, state=State.THERE, record=result)
        done.append(model)
    return done


def _wanted(model: PlannedModel) -> Wanted | None:
    if model.path is None or model.remote is None:
        return None
    return Wanted(model.remote.url, model.path, model.need.sha256 or model.remote.sha256, model.remote.size)


def _judge(part: Path) -> str | None:
    return damage(part, part.name.removesuffix(".part"))


def _install(packs: Sequence[PlannedPack], folders: Folders, console: Console) -> list[PlannedPack]:
    """Install what is missing. Returns the packs as they are then."""
    texts = [install_text(pack.need) for pack in packs if pack.state in (State.MISSING, State.DIFFERENT)]
    if texts:
        command = [str(PROJECT / "scripts" / "install-nodes"), *texts]
        # A pack's install.py is a stranger's code. It gets no token of the hosts of models.
        environment = {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES.values()}
        code = subprocess.run(command, check=False, stdout=sys.stderr, env=environment).returncode  # noqa: S603
        if code:
            console.print(f"install-nodes ended with {code}; its output stands above", style="bold red", markup=False)
    return plan_packs([pack.need for pack in packs], installed_packs(folders.custom_nodes))


def _write_lock(path: Path | None, plan: Plan, folders: Folders, console: Console) -> Lock | None:
    if path is None:
        return None
    lock = make_lock(path.stem, folders.source.version, plan.models, plan.packs)
    write_build_file(path, lock.text)
    console.print(f"\n{path}: {lock.counted}", markup=False)
    for line in lock.gaps:
        console.print(f"  not exact: {plain(line)}", style="red", markup=False)
    return lock
