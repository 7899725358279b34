"""Reads the command line of ``scripts/compare_packs``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from command_line import check_output_files, read_number

from worker.errors import InvalidJob
from worker.job.from_python import make_job
from worker.job.job import Job

_EPILOG = """\
what is compared:
  packs       are they imported, and in which time; if not, for which reason
  classes     which node classes there are, and what /object_info says of each
  outcome     did the workflow succeed, fail in a node, or was it refused
  files       each file that the server has in its output folder afterwards, and each picture that it sent to the page,
              must be in the worker's answer. Pictures, videos and sounds are compared as they are when decoded
  texts       each text that the server's history has must be in the answer
  ui          the ui dicts of all nodes, as /history has them, without names of previews

Of a workflow that fails on both, only the outcome is compared: what runs before a node fails is chance on a server.

A workflow that differs runs once more, on a new server. What differs there as well is reported as varying: a random
seed of the node's own, a time, a temperature. It is no difference between the two.

PACK is a folder with __init__.py, a .py file, or the name of a pack in custom_nodes/ of COMFY_BASE_DIR. Without one,
all packs of that folder are taken. Packs are copied, so that nothing changes yours. Their requirements must be
installed: scripts/install-nodes does that.
WORKFLOW is an API-format workflow, a request as sent to the endpoint (with its input files), a PNG that carries a
workflow, or a folder of these. Models and static input files come from COMFY_BASE_DIR. Without one, the packs are
imported and their classes compared, which takes about half a minute.

--each-node needs no workflow of yours. Each class gets its defaults, a small picture, and a node that saves or shows
what it gives. Classes that need a model get models/checkpoints/tiny-sd.safetensors, where that is there
(scripts/make_tiny_checkpoint makes it); for others that need something the report says what. On this machine, nodes do
whatever they do with their defaults.

examples:
  scripts/compare_packs                                       all your packs, without a workflow
  scripts/compare_packs comfyui-kjnodes grid.json             one of them, and what it makes
  scripts/compare_packs ~/my-pack ~/my-pack/workflows         a pack that you write
  scripts/compare_packs ~/my-pack --each-node                 each of its nodes once
  scripts/compare_packs my-pack a.json --json found.json --html found.html --keep files

exit codes:
  0    nothing differs; a pack or a workflow that fails on both alike is no difference, and is named
  1    something differs
  2    the command line, a pack or a workflow file is wrong
  3    the server or the worker does not start
  130  stopped with Ctrl-C or SIGTERM
"""


@dataclass(frozen=True)
class Case:
    """A workflow to run: ``name`` is that of its file."""

    name: str
    job: Job


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        each_node: whether a workflow is made for each node class of ``packs``.
        keep: a folder for the files of both.
        timeout_s: of each workflow.
    """

    packs: tuple[Path, ...]
    cases: tuple[Case, ...]
    each_node: bool
    json: Path | None
    html: Path | None
    keep: Path | None
    timeout_s: float


def parse(description: str, arguments: Sequence[str] | None, custom_nodes: Path) -> Options:
    """Read the command line. Ends the program if it is wrong. ``custom_nodes``: the folder of the user's packs.

    Raises:
        InvalidJob: a workflow file cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="scripts/compare_packs",
        usage="%(prog)s [PACK …] [WORKFLOW …] [--each-node] [--json FILE] [--html FILE] [--keep DIR] [--timeout S]",
        description=description,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("given", nargs="*", metavar="PACK or WORKFLOW", help="node packs and workflows, in any order: see below")
    add("--each-node", action="store_true", help="also make and run a workflow for each node class of the packs")
    add("--json", type=Path, metavar="FILE", help="write all that was found there; docs/custom-nodes.md has the schema")
    add("--html", type=Path, metavar="FILE", help="write a page there, with pictures that differ side by side")
    add("--keep", type=Path, metavar="DIR", help="keep the files and logs of both there, in server/ and worker/")
    add("--timeout", type=_seconds, default=600, metavar="S", help="seconds that a workflow may take (default: 600)")
    given = parser.parse_intermixed_args(arguments)
    check_output_files(parser, given, "json", "html", "keep")
    packs, workflows = _sorted(parser, given.given, custom_nodes)
    packs = packs or sorted(path for path in _entries(custom_nodes) if _is_pack(path))
    return Options(
        tuple(packs), tuple(_cases(workflows)), given.each_node, given.json, given.html, given.keep, given.timeout
    )


_seconds = partial(read_number, otherwise="not a number above 0", accepts=lambda value: value > 0)


def _sorted(parser: argparse.ArgumentParser, given: Sequence[str], custom_nodes: Path) -> tuple[list[Path], list[Path]]:
    """The packs and the workflow files among what was given."""
    packs: list[Path] = []
    workflows: list[Path] = []
    installed = {path.name.lower(): path for path in _entries(custom_nodes) if _is_pack(path)}
    for text in given:
        path = Path(text).expanduser()
        inside = [inner for inner in sorted(_entries(path)) if inner.suffix.lower() in (".json", ".png")]
        if _is_pack(path):
            packs.append(path.resolve())
        elif path.is_file():
            workflows.append(path)
        elif inside:
            workflows += inside
        elif text.lower() in installed:
            packs.append(installed[text.lower()])
        else:
            parser.error(
                f"{text!r} is no workflow file, no node pack (a folder with __init__.py, or a .py file), no folder of "
                f"workflows, and no pack in {custom_nodes}"
            )
    return packs, workflows


def _is_pack(path: Path) -> bool:
    return (path / "__init__.py").is_file() or (path.suffix == ".py" and path.is_file())


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _cases(files: Sequence[Path]) -> Iterator[Case]:
    names: set[str] = set()
    for path in files:
        name, number = path.name, 1
        while name in names:
            number += 1
            name = f"{path.name} ({number})"
        names.add(name)
        try:
            job = make_job(path)
        except InvalidJob as error:
            raise InvalidJob(f"{path}: {error}") from None
        if job.name is not None:
            raise InvalidJob(f"{path}: this is no file, and workflows by name are not compared: name the file")
        yield Case(name, job)
