"""Which node classes of ComfyUI were reviewed for callers whom the operator does not know (SAFE_NODES=core).

It starts ComfyUI without node packs and prints a line for each of its own node classes: its state, its file, and what
its source does that a reviewer has to look at. Partner nodes are never reviewed. The reviews are in
worker/embedded/reviewed/: classes.toml, bases.toml and files.toml, which --accept writes, and left_out.toml, which is
written by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from command_line import ExitCode, finish
from reviewing.tables import accept
from reviewing.traits import traits

from worker import Worker
from worker.embedded.reviewed.nodes import ReviewedNodes
from worker.embedded.reviewed.table import review_table
from worker.errors import StartError
from worker.settings import load_settings

_STATES = ("new", "changed", "left out", "reviewed")
_EPILOG = """\
states:
  new       nobody has looked at it
  changed   its source, or that of a class it stems from, is not one that was reviewed
  left out  it was reviewed, and is not for strangers; left_out.toml says why
  reviewed  SAFE_NODES=core permits it

examples:
  scripts/review_nodes --state new --state changed
  scripts/review_nodes --comfyui ~/ComfyUI --accept KSampler VAEDecode

exit codes: 0 no class is new or changed, 1 some are, 2 the command line is wrong, 3 ComfyUI cannot start
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the classes, or record a review. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/review_nodes",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--comfyui", type=Path, metavar="TREE", help="a ComfyUI tree (default: vendor/)")
    parser.add_argument(
        "--state", action="append", choices=_STATES, help="print only classes in this state; may be repeated"
    )
    parser.add_argument("--accept", nargs="+", metavar="CLASS", help="record that these classes were reviewed")
    options = parser.parse_args(arguments)
    outcomes = {StartError: ExitCode.CANNOT_START, ValueError: ExitCode.USAGE}
    return finish("review_nodes", lambda: review(options), outcomes)


def review(options: argparse.Namespace) -> ExitCode:
    """Start ComfyUI, and do what ``options`` ask for.

    Raises:
        StartError: ComfyUI cannot start.
        ValueError: a class is not one of ComfyUI's own.
    """
    settings = load_settings().quiet()
    flags = (*settings.comfy_args, "--disable-all-custom-nodes")
    update = {"comfy_args": flags, "comfyui_path": options.comfyui or settings.comfyui_path, "safe_nodes": "off"}
    with Worker(settings.model_copy(update=update), say=lambda _: None) as worker:
        runtime = worker.embedded_runtime()
        nodes = ReviewedNodes(runtime.main.nodes.NODE_CLASS_MAPPINGS, runtime.source.path)
        states = {name: state for name, state in nodes.states().items() if is_reviewable(nodes, name)}
        if options.accept:
            if foreign := [name for name in options.accept if name not in states]:
                raise ValueError(f"not among ComfyUI's own node classes: {', '.join(foreign)}")
            accept(nodes, review_table(), options.accept)
            return ExitCode.OK
        report(nodes, states, options.state or _STATES)
    return ExitCode.FAILED if {"new", "changed"} & set(states.values()) else ExitCode.OK


def is_reviewable(nodes: ReviewedNodes, name: str) -> bool:
    """Whether a class is ComfyUI's own, and no partner node."""
    origins = nodes.origins(name)
    return bool(origins) and not origins[0][0].path.startswith("comfy_api_nodes/")


def report(nodes: ReviewedNodes, states: Mapping[str, str], wanted: Sequence[str]) -> None:
    """Print a line for each class in a wanted state, and the numbers of all."""
    for name, state in sorted(states.items(), key=lambda item: (nodes.origins(item[0])[0][0].path, item[0])):
        if state in wanted:
            file, class_name = nodes.origins(name)[0]
            found = "; ".join(sorted(traits(file.source.statements(class_name))))
            print(f"{state:<9} {file.path}  {name}  {found}")
    print(", ".join(f"{count} {state}" for state, count in Counter(states.values()).most_common()))


if __name__ == "__main__":
    sys.exit(main())
